from rollway.environments.terminal.checking import Box, equal

KEPT = {
    "B/copy.txt",
    "a/almost.txt",
    "a/zeta",
    "B/only",
    "a/same-size-1",
    "a/same-size-2",
    "empty1",
    "a/empty2",
}


async def check_one_of_each_is_left(box: Box) -> None:
    equal({path for path, entry in (await box.tree("store")).items() if entry.kind == "f"}, KEPT)


async def check_the_list(box: Box) -> None:
    equal(await box.lines("removed.txt"), ["store/a/1.txt", "store/c d/copy (2).txt", "store/zeta"])
