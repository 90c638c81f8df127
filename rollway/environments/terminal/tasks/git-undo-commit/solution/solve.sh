cd repo
git revert --no-edit HEAD~2 >/dev/null || {
    printf 'import os\n\nprint(open("data.txt").read())\n\n\n\nprint("the end")\n' > main.py
    git add -A
    git -c core.editor=true revert --continue >/dev/null
}
