for n in $(seq 0 32); do
    day=$(date -u -d "2024-02-12 +$n days" +%F)
    if [ "$(date -u -d "$day" +%u)" -le 5 ] && [ ! -s "reports/report-$day.txt" ]; then echo "$day"; fi
done > missing.txt
for file in reports/report-*.txt; do
    day=${file#reports/report-}; day=${day%.txt}
    if ! weekday=$(date -u -d "$day" +%u 2>/dev/null) || [ "$weekday" -gt 5 ]; then echo "$day"; fi
done | sort > wrong.txt
