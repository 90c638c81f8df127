grep -vE '^[0-9]+(\.[0-9]+)? ' events.log > rejected.log
grep -E '^[0-9]+(\.[0-9]+)? ' events.log | sort -s -k1,1g | while IFS= read -r line; do
    time=${line%% *}
    printf '%s %s\n' "$(date -u -d "@${time%.*}" +%Y-%m-%dT%H:%M:%SZ)" "${line#* }"
done > events-iso.log
