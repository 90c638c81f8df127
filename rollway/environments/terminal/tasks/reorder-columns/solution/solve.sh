awk -F'\t' 'NR == 1 {print "born,city,name"; next} {split($2, d, "/"); printf "%04d-%02d-%02d,%s,%s\n", d[3], d[2], d[1], $3, $1}' people.tsv > people.csv
