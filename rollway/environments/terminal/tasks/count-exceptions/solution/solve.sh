awk '/^Traceback/ {inside = 1; next} inside && /^ / {next} inside {sub(/:.*/, ""); sub(/.*\./, ""); n[$0]++; inside = 0}
END {for (k in n) print k "\t" n[k]}' worker.log | LC_ALL=C sort -t"$(printf '\t')" -k2,2nr -k1,1 > exceptions.tsv
