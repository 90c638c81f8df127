from rollway.environments.terminal.checking import Box, equal

TIP = "19523ad4638df721b921b6625b02fe15db6dba3b"


async def check_the_branch(box: Box) -> None:
    log = await box.git("log", "--format=%s %cI", "recovered", repo="repo")
    equal(
        [line.partition(" 2024")[0] for line in log.split("\n")],
        ["Test the parser", "Add the parser", "Start"],
    )
    equal(await box.git("rev-parse", "recovered", repo="repo"), TIP)
    equal(
        await box.git("show", "recovered:parser.py", repo="repo"), "def parse(text):\n    return text.split()"
    )


async def check_main_is_where_it_was(box: Box) -> None:
    await box.git("rev-parse", "--verify", "recovered", repo="repo")
    equal(await box.git("log", "--format=%s", "main", repo="repo"), "Say what is next\nStart")
    equal(await box.git("symbolic-ref", "HEAD", repo="repo"), "refs/heads/main")
    equal(await box.git("status", "--porcelain", repo="repo"), "")
