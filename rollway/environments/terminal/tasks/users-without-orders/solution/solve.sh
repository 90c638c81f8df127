awk -F'\t' 'NR == FNR {seen[$2]; next} !($1 in seen) {print $2}' orders.tsv users.tsv | LC_ALL=C sort > idle.txt
