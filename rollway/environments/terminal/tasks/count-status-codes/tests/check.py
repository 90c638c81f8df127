from collections import Counter

from rollway.environments.terminal.checking import Box, equal, task_module


async def check_counts_are_right_and_in_order(box: Box) -> None:
    codes = Counter(line.split()[-2] for line in task_module(__file__, "make_data").lines())
    expected = [f"{code} {n}" for code, n in sorted(codes.items(), key=lambda item: (-item[1], item[0]))]
    equal(await box.lines("status.txt"), expected)
