cd project
git init -q -b main
printf '*.log\n!/keep.log\n/tmp/\n.env\n' > .gitignore
git config user.name 'Robin Example'
git config user.email robin@example.com
git add -A
git commit -q -m 'Initial import'
