from collections import Counter

from rollway.environments.terminal.checking import Box, equal, task_module


def expected() -> list[str]:
    total: Counter[str] = Counter()
    for _, address, _, _, size in task_module(__file__, "make_data").rows():
        total[address] += 0 if size == "-" else int(size)
    return [f"{address},{size}" for address, size in total.most_common(5)]


async def check_header(box: Box) -> None:
    equal((await box.lines("top.csv"))[:1], ["address,bytes"])


async def check_the_five_in_order(box: Box) -> None:
    equal((await box.lines("top.csv"))[1:], expected())
