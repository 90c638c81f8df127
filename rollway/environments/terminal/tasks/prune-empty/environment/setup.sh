mkdir -p project/src/util project/a/b/c/d "project/old stuff/x" project/kept project/.hidden/e
printf 'code\n' > project/src/main.c
: > project/src/empty.c
: > project/src/util/.keep
: > project/a/b/zero
: > "project/old stuff/x/nothing here.txt"
: > project/kept/.keep
printf ' ' > project/a/blank
: > project/.hidden/e/.empty
