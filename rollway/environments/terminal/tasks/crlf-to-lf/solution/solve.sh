find docs -type f \( -name '*.txt' -o -name '*.md' -o -name '*.csv' \) -print0 | while IFS= read -r -d '' file; do
    if grep -q "$(printf '\r')$" "$file"; then sed -i 's/\r$//' "$file"; fi
done
