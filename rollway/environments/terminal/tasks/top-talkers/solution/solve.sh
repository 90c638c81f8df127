{ echo address,bytes; awk '$5 != "-" {t[$2] += $5} END {for (a in t) print a "," t[a]}' traffic.log | sort -t, -k2,2nr | head -5; } > top.csv
