cat > backup.sh <<'SH'
#!/bin/bash
shopt -s nullglob
source=$1
target=$2
case $source in /*) ;; *) source=./$source ;; esac
case $target in /*) ;; *) target=./$target ;; esac
mkdir -p -- "$target"
count=0
for file in "$source"/*.txt; do
    [ -f "$file" ] || continue
    cp -- "$file" "$target/${file##*/}.bak"
    count=$((count + 1))
done
echo "$count files copied"
SH
