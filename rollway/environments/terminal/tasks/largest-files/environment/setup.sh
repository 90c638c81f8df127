mkdir -p data/logs/2024 data/.cache "data/my docs"
make() { head -c "$1" /dev/zero | tr '\0' x > "$2"; }
make 51200 data/logs/2024/jan.log
make 51201 data/logs/2024/feb.log
make 777 data/readme
make 300000 data/.cache/blob
make 120001 "data/my docs/big report.txt"
make 99999 data/table.csv
make 4096 data/logs/small.log
truncate -s 70000 data/holes.img
ln -s .cache/blob data/link-to-blob
