from rollway.environments.terminal.checking import Box, equal


async def check_history_is_kept(box: Box) -> None:
    subjects = (await box.git("log", "--format=%s", "main", repo="repo")).split("\n")
    equal(subjects[1:], ["Add a license", "Say it better", "Clean up", "Start"])


async def check_files(box: Box) -> None:
    equal(await box.git("ls-tree", "-r", "--name-only", "main", repo="repo"), "LICENSE\ndata.txt\nmain.py")
    equal(await box.git("show", "main:data.txt", repo="repo"), "1\n2\n3")
    equal(
        await box.git("show", "main:main.py", repo="repo"),
        'import os\n\nprint(open("data.txt").read())\n\n\n\nprint("the end")',
    )
    equal(await box.git("status", "--porcelain", repo="repo"), "")
    equal(await box.git("symbolic-ref", "HEAD", repo="repo"), "refs/heads/main")
