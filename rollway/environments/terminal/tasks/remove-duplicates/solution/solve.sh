find store -type f -size +0 -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | awk '{sum = $1; path = substr($0, 67)} seen[sum]++ {print path}' > removed.txt
while IFS= read -r path; do rm "$path"; done < removed.txt
