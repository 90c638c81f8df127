export GIT_AUTHOR_NAME=Dev GIT_AUTHOR_EMAIL=dev@example.com GIT_COMMITTER_NAME=Dev GIT_COMMITTER_EMAIL=dev@example.com
at() { export GIT_AUTHOR_DATE="2024-03-01T10:$1:00Z" GIT_COMMITTER_DATE="2024-03-01T10:$1:00Z"; }
git init -q -b main repo
cd repo
git config user.name Dev
git config user.email dev@example.com
printf 'start\n' > readme.txt
at 01; git add -A; git commit -q -m 'Start'
printf 'def parse(text):\n    return text.split()\n' > parser.py
at 02; git add -A; git commit -q -m 'Add the parser'
printf 'from parser import parse\nassert parse("a b") == ["a", "b"]\n' > test_parser.py
at 03; git add -A; git commit -q -m 'Test the parser'
git reset -q --hard HEAD~2
printf 'start\nnext\n' > readme.txt
at 04; git add -A; git commit -q -m 'Say what is next'
