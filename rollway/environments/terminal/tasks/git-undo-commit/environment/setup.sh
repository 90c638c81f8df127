export GIT_AUTHOR_NAME=Dev GIT_AUTHOR_EMAIL=dev@example.com GIT_COMMITTER_NAME=Dev GIT_COMMITTER_EMAIL=dev@example.com
at() { export GIT_AUTHOR_DATE="2024-03-01T10:$1:00Z" GIT_COMMITTER_DATE="2024-03-01T10:$1:00Z"; }
git init -q -b main repo
cd repo
git config user.name Dev
git config user.email dev@example.com
printf '1\n2\n3\n' > data.txt
printf 'import os\n\nprint(open("data.txt").read())\n\n\n\nprint("end")\n' > main.py
at 01; git add -A; git commit -q -m 'Start'
git rm -q data.txt
printf 'print("no data")\n\n\n\nprint("end")\n' > main.py
at 02; git add -A; git commit -q -m 'Clean up'
printf 'print("no data")\n\n\n\nprint("the end")\n' > main.py
at 03; git add -A; git commit -q -m 'Say it better'
printf 'MIT\n' > LICENSE
at 04; git add -A; git commit -q -m 'Add a license'
