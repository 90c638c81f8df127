find mail -name '*.txt' -exec cat {} + | grep -oE '[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}' \
    | tr 'A-Z' 'a-z' | LC_ALL=C sort -u > addresses.txt
