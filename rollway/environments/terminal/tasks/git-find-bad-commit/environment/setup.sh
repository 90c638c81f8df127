export GIT_AUTHOR_NAME=Dev GIT_AUTHOR_EMAIL=dev@example.com GIT_COMMITTER_NAME=Dev GIT_COMMITTER_EMAIL=dev@example.com
at() { export GIT_AUTHOR_DATE="2024-03-01T10:$1:00Z" GIT_COMMITTER_DATE="2024-03-01T10:$1:00Z"; }
git init -q -b main repo
cd repo
git config user.name Dev
git config user.email dev@example.com
for n in $(seq 20 39); do
    at "$n"
    case $n in
        2[0-6]) body="total = amount * count  # $n" ;;
        27|28|31) body="total = amount * count + (0 if $n" ;;
        *) body="total = amount * count - count // 3  # rounding $n" ;;
    esac
    if [ "$n" -eq 29 ]; then body='total = sum([amount] * count)'; fi
    if [ "$n" -eq 30 ]; then body='total = count * amount'; fi
    if [ "$n" -eq 31 ]; then body='total = count * amount - (count > 2)'; fi
    printf 'import sys\n\namount, count = map(int, sys.argv[1:3])\n%s\nprint(total)\n' "$body" > price.py
    git add -A
    git commit -q -m "Change $n"
    if [ "$n" -eq 20 ]; then git tag v1; fi
done
