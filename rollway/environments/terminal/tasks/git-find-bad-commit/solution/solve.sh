cd repo
for commit in $(git rev-list --reverse v1..main); do
    git checkout -q "$commit"
    if output=$(python3 price.py 10 3 2>/dev/null) && [ "$output" != 30 ]; then
        printf '%s\n' "$commit" > ../bad-commit.txt
        break
    fi
done
git checkout -q main
