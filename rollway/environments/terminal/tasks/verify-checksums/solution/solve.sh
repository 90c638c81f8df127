cd release
sha256sum -c SHA256SUMS 2>/dev/null | grep -v ': OK$' | sed 's/: FAILED.*$//' | LC_ALL=C sort > ../bad.txt
cut -c67- SHA256SUMS | LC_ALL=C sort > /tmp/listed.$$
find . -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | LC_ALL=C comm -13 /tmp/listed.$$ - > ../unlisted.txt
rm /tmp/listed.$$
