from rollway.environments.terminal.checking import Box, equal, task_module


async def check_damaged_parts(box: Box) -> None:
    equal(await box.lines("damaged.txt"), task_module(__file__, "make_data").DAMAGED)


async def check_merged_lines(box: Box) -> None:
    data = task_module(__file__, "make_data")
    rows = [row for name, part in data.parts().items() if name not in data.DAMAGED for row in part]
    equal(await box.lines("merged.log"), sorted(rows, key=lambda row: (int(row.split()[0]), row)))
