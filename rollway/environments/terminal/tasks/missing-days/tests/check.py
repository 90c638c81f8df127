from rollway.environments.terminal.checking import Box, equal


async def check_missing(box: Box) -> None:
    equal(await box.lines("missing.txt"), ["2024-02-14", "2024-02-29", "2024-03-05", "2024-03-08"])


async def check_wrong(box: Box) -> None:
    equal(await box.lines("wrong.txt"), ["2024-02-25", "2024-02-30", "2024-03-02"])
