export GIT_AUTHOR_NAME=Dev GIT_AUTHOR_EMAIL=dev@example.com GIT_COMMITTER_NAME=Dev GIT_COMMITTER_EMAIL=dev@example.com
at() { export GIT_AUTHOR_DATE="2024-03-01T10:$1:00Z" GIT_COMMITTER_DATE="2024-03-01T10:$1:00Z"; }
git init -q -b main repo
cd repo
git config user.name Dev
git config user.email dev@example.com
printf 'NAME = "app"\nTIMEOUT = 10\nRETRIES = 1\n\n\nDEBUG = False\n' > config.py
printf 'one\n' > readme.txt
at 01; git add -A; git commit -q -m 'Start'
git checkout -q -b feature
printf 'NAME = "app"\nTIMEOUT = 15\nRETRIES = 5\n\n\nDEBUG = False\nCACHE = True\n' > config.py
printf 'feature\n' > feature.txt
at 02; git add -A; git commit -q -m 'Add the feature'
git checkout -q main
printf 'NAME = "app"\nTIMEOUT = 30\nRETRIES = 2\n\n\nDEBUG = False\n' > config.py
printf 'one\ntwo\n' > readme.txt
at 03; git add -A; git commit -q -m 'Wait longer'
