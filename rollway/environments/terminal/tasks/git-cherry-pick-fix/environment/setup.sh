export GIT_AUTHOR_NAME=Dev GIT_AUTHOR_EMAIL=dev@example.com GIT_COMMITTER_NAME=Dev GIT_COMMITTER_EMAIL=dev@example.com
at() { export GIT_AUTHOR_DATE="2024-03-01T10:$1:00Z" GIT_COMMITTER_DATE="2024-03-01T10:$1:00Z"; }
git init -q -b main repo
cd repo
git config user.name Dev
git config user.email dev@example.com
printf 'def price(x):\n    return int(x)\n' > price.py
at 01; git add -A; git commit -q -m 'Start'
git branch release-1
printf 'new\n' > new.py
at 02; git add -A; git commit -q -m 'Add a novelty'
printf 'def price(x):\n    return round(x)\n' > price.py
at 03; git add -A; GIT_AUTHOR_NAME='Kim Fixer' git commit -q -m 'Fix the rounding'
printf 'newer\n' > new.py
at 04; git add -A; git commit -q -m 'Change the novelty'
