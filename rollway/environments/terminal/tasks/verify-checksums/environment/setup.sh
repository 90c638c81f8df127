mkdir release
cd release
for n in 1 2 3 4 5 6 7 8; do printf 'part %s\n' "$n" > "part $n.bin"; done
printf 'doc\n' > manual.txt
sha256sum *.bin manual.txt > SHA256SUMS
printf 'part 3 \n' > "part 3.bin"
printf 'pbrt 7\n' > "part 7.bin"
rm "part 5.bin"
printf 'extra\n' > extra.bin
printf 'extra\n' > Notes
