export GIT_AUTHOR_NAME=Dev GIT_AUTHOR_EMAIL=dev@example.com GIT_COMMITTER_NAME=Dev GIT_COMMITTER_EMAIL=dev@example.com
at() { export GIT_AUTHOR_DATE="2024-03-01T10:$1:00Z" GIT_COMMITTER_DATE="2024-03-01T10:$1:00Z"; }
git init -q -b main repo
cd repo
git config user.name Dev
git config user.email dev@example.com
for n in 1 2 3 4 5 6; do
    printf 'line %s\n' "$n" >> notes.txt
    if [ "$n" -eq 3 ]; then printf 'PRIVATE KEY 4711\n' > deploy.key; fi
    if [ "$n" -eq 5 ]; then printf 'PRIVATE KEY 4712\n' > deploy.key; fi
    at "0$n"
    git add -A
    GIT_AUTHOR_NAME="Author $n" git commit -q -m "Step $n"
done
git branch backup HEAD~1
git tag before-release HEAD~2
