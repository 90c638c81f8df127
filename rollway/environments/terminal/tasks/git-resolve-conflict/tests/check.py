from rollway.environments.terminal.checking import Box, equal


async def check_the_merge_commit(box: Box) -> None:
    parents = (await box.git("log", "-1", "--format=%P", "main", repo="repo")).split()
    subjects = [await box.git("log", "-1", "--format=%s", parent, repo="repo") for parent in parents]
    equal(subjects, ["Wait longer", "Add the feature"])
    equal(await box.git("rev-list", "--count", "main", repo="repo"), "4")


async def check_the_merged_configuration(box: Box) -> None:
    lines = [line for line in (await box.git("show", "main:config.py", repo="repo")).split("\n") if line]
    equal(lines, ['NAME = "app"', "TIMEOUT = 30", "RETRIES = 5", "DEBUG = False", "CACHE = True"])
    equal([line for line in await box.lines("repo/config.py") if line], lines)


async def check_the_rest(box: Box) -> None:
    equal(await box.git("show", "main:readme.txt", repo="repo"), "one\ntwo")
    equal(await box.git("show", "main:feature.txt", repo="repo"), "feature")
    equal(await box.git("status", "--porcelain", repo="repo"), "")
    equal(await box.git("symbolic-ref", "HEAD", repo="repo"), "refs/heads/main")
