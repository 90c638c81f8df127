mkdir texts
cd texts
printf 'caf\303\251\n' > utf8.txt
printf 'caf\351 cr\350me\n' > latin.txt
printf '\357\273\277na\303\257f\n' > bom.txt
printf 'plain\n' > ascii.txt
printf '\243 50 \303\251\n' > mixed.txt
printf '\377\376 thorn\n' > "y.old file.txt"
