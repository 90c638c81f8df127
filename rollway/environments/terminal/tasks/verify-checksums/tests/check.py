from rollway.environments.terminal.checking import Box, equal


async def check_bad_files(box: Box) -> None:
    equal(await box.lines("bad.txt"), ["part 3.bin", "part 5.bin", "part 7.bin"])


async def check_unlisted_files(box: Box) -> None:
    equal(await box.lines("unlisted.txt"), ["Notes", "extra.bin"])
