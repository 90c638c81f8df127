tr 'A-Z' 'a-z' < book.txt | grep -oE '[a-z]+' | LC_ALL=C sort | uniq -c | LC_ALL=C sort -k1,1nr -k2,2 | head -10 | awk '{print $2, $1}' > words.txt
