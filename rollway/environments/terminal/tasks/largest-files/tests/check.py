from rollway.environments.terminal.checking import Box, equal


async def check_list(box: Box) -> None:
    equal(
        (await box.lines("largest.txt"))[:5],
        [
            "300000 data/.cache/blob",
            "120001 data/my docs/big report.txt",
            "99999 data/table.csv",
            "70000 data/holes.img",
            "51201 data/logs/2024/feb.log",
        ],
    )


async def check_total(box: Box) -> None:
    equal((await box.lines("largest.txt"))[5:], ["total 697274"])
