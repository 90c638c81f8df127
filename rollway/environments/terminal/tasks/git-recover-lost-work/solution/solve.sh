cd repo
git branch recovered "$(git reflog --format='%H %gs' | awk '/Test the parser/ {print $1; exit}')"
