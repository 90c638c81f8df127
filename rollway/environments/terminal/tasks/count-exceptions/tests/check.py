from collections import Counter

from rollway.environments.terminal.checking import Box, equal, task_module


async def check_counts(box: Box) -> None:
    kinds = task_module(__file__, "make_data").kinds()
    counts = Counter(kind.partition(":")[0].rpartition(".")[2] for kind in kinds)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    equal(await box.lines("exceptions.tsv"), [f"{kind}\t{count}" for kind, count in ranked])
