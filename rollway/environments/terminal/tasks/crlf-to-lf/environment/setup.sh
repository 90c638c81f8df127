mkdir -p "docs/a b"
printf 'one\r\ntwo\r\n' > docs/win.txt
printf 'one\ntwo\r\nthree' > "docs/a b/mixed.md"
printf 'a,b\r\n1,"x\ry"\r\n' > docs/t.csv
printf 'unix\nonly\n' > docs/unix.txt
printf 'lone\rreturn\n' > docs/mac.md
printf '\211PNG\r\n\032\n\000\r\n' > docs/pic.png
printf 'run\r\n' > docs/run.bat
find docs -type f -exec touch -d '2020-01-02 03:04:05 UTC' {} +
