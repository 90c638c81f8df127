from rollway.environments.terminal.checking import Box, equal


async def check_the_commits_of_the_release(box: Box) -> None:
    log = await box.git("log", "--format=%an|%s", "release-1", repo="repo")
    equal(log, "Kim Fixer|Fix the rounding\nDev|Start")


async def check_the_files_of_the_release(box: Box) -> None:
    equal(await box.git("show", "release-1:price.py", repo="repo"), "def price(x):\n    return round(x)")
    equal(await box.git("ls-tree", "-r", "--name-only", "release-1", repo="repo"), "price.py")
    equal(await box.git("symbolic-ref", "HEAD", repo="repo"), "refs/heads/release-1")
    equal(await box.git("status", "--porcelain", repo="repo"), "")


async def check_main_is_untouched(box: Box) -> None:
    equal(await box.git("rev-list", "--count", "main", repo="repo"), "4")
    equal(await box.git("rev-list", "--count", "release-1", repo="repo"), "2")
