from rollway.environments.terminal.checking import Box, ensure, equal


async def check_the_commit(box: Box) -> None:
    found = (await box.text("bad-commit.txt")).strip()
    ensure(len(found) == 40, "a full hash")
    equal(await box.git("log", "-1", "--format=%s", found, repo="repo"), "Change 31")
    equal(found, await box.git("rev-parse", "main~8", repo="repo"))


async def check_the_repository_is_on_main(box: Box) -> None:
    ensure("bad-commit.txt" in await box.tree("."), "no answer yet")
    equal(await box.git("symbolic-ref", "HEAD", repo="repo"), "refs/heads/main")
    equal(await box.git("rev-list", "--count", "main", repo="repo"), "20")
