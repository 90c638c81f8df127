import re
from collections import Counter

from rollway.environments.terminal.checking import Box, equal, task_module


async def check_words(box: Box) -> None:
    counts = Counter(re.findall("[a-z]+", task_module(__file__, "make_data").text().lower()))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    equal(await box.lines("words.txt"), [f"{word} {count}" for word, count in ranked])
