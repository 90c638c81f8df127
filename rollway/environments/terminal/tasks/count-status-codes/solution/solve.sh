awk '{print $(NF-1)}' access.log | sort | uniq -c | sort -k1,1nr -k2,2 | awk '{print $2, $1}' > status.txt
