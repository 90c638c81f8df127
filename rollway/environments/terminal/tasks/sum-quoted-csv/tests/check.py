import json

from rollway.environments.terminal.checking import Box, ensure, equal, task_module


async def check_totals_of_all_regions(box: Box) -> None:
    cents: dict[str, int] = {}
    for _, _, region, amount in task_module(__file__, "make_data").rows():
        cents[region] = cents.get(region, 0) + int((amount or "0.00").replace(",", "").replace(".", ""))
    written = json.loads(await box.text("totals.json"))
    equal(set(written), set(cents))
    for region, total in cents.items():
        ensure(isinstance(written[region], int | float), "a total is a number")
        ensure(abs(written[region] - total / 100) < 0.005, f"the total of {region}")
