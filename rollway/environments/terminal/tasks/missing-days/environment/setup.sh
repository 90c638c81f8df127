mkdir reports
cd reports
for n in $(seq 0 32); do
    day=$(date -u -d "2024-02-12 +$n days" +%F)
    weekday=$(date -u -d "$day" +%u)
    case $day in
        2024-02-14|2024-02-29|2024-03-08) continue ;;
        2024-03-05) : > "report-$day.txt"; continue ;;
        2024-02-25|2024-03-02) ;;
        *) if [ "$weekday" -gt 5 ]; then continue; fi ;;
    esac
    printf 'ok\n' > "report-$day.txt"
done
printf 'ok\n' > report-2024-02-30.txt
printf 'ok\n' > summary.txt
