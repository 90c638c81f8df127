{
    find data -type f -printf '%s %p\n' | sort -rn | head -5
    find data -type f -printf '%s\n' | awk '{t += $1} END {print "total", t}'
} > largest.txt
