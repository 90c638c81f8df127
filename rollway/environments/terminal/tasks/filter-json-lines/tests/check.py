import json

from rollway.environments.terminal.checking import Box, equal


async def check_objects(box: Box) -> None:
    read = [json.loads(line) for line in await box.lines("failures.jsonl")]
    equal(read, [{"id": 1, "duration": 31.5}, {"id": "six é", "duration": 1000.0}, {"id": 9, "duration": 31}])


async def check_number_of_skipped_lines(box: Box) -> None:
    equal((await box.text("skipped.txt")).strip(), "3")
