: > all.tmp; : > damaged.txt
for part in parts/part-*.log.gz; do
    if gzip -t "$part" 2>/dev/null; then zcat "$part" >> all.tmp; else basename "$part" >> damaged.txt; fi
done
LC_ALL=C sort -k1,1n all.tmp > merged.log
rm all.tmp
