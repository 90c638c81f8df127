mkdir -p store/a store/B "store/c d"
printf 'alpha\n' > store/a/1.txt
printf 'alpha\n' > store/B/copy.txt
printf 'alpha\n' > "store/c d/copy (2).txt"
printf 'alpha' > store/a/almost.txt
printf 'beta\n' > store/zeta
printf 'beta\n' > store/a/zeta
printf 'gamma\n' > store/B/only
printf 'delta1\n' > store/a/same-size-1
printf 'delta2\n' > store/a/same-size-2
: > store/empty1
: > store/a/empty2
