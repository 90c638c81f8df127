cd repo
commit=$(git log main --format=%H --grep='Fix the rounding')
git checkout -q release-1
git cherry-pick "$commit" >/dev/null
