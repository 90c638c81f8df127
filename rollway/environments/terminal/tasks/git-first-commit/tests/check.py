from rollway.environments.terminal.checking import Box, ensure, equal


async def check_one_commit_on_main(box: Box) -> None:
    equal(
        await box.git("log", "--format=%an <%ae>|%s|%b", "main", repo="project"),
        "Robin Example <robin@example.com>|Initial import|",
    )
    equal(await box.git("symbolic-ref", "HEAD", repo="project"), "refs/heads/main")


async def check_committed_files(box: Box) -> None:
    files = set((await box.git("ls-tree", "-r", "--name-only", "main", repo="project")).split("\n"))
    equal(files - {"src/tmp/scratch"}, {".gitignore", "README.md", "keep.log", "src/main.c"})


async def check_nothing_is_left_to_commit(box: Box) -> None:
    equal(await box.git("status", "--porcelain", repo="project"), "")


async def check_files_are_still_there(box: Box) -> None:
    for path in (".env", "tmp/cache", "src/debug.log", "src/main.c"):
        ensure(path in await box.tree("project"), f"{path} is gone")
