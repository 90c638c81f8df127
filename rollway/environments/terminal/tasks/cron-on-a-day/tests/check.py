from rollway.environments.terminal.checking import Box, equal


async def check_runs(box: Box) -> None:
    equal(
        await box.lines("runs.txt"),
        [
            "03:00 month end",
            "03:00 nightly",
            "03:05 either day",
            "03:15 month end",
            "03:30 month end",
            "03:45 month end",
            "03:45 sunday or listed",
            "04:00 thursday",
            "04:10 step range",
            "04:20 step range",
            "04:20 thursday",
            "04:30 step range",
            "04:40 step range",
            "04:40 thursday",
            "04:45 sunday or listed",
            "04:59 every seventh",
            "04:59 odd days",
        ],
    )
