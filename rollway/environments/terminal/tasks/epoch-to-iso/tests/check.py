from rollway.environments.terminal.checking import Box, equal


async def check_events(box: Box) -> None:
    equal(
        await box.lines("events-iso.log"),
        [
            "1970-01-01T00:00:00Z the  beginning",
            "2001-09-09T01:46:40Z billennium a",
            "2001-09-09T01:46:40Z billennium b",
            "2024-02-29T00:00:00Z leap day   begins",
            "2024-02-29T23:59:59Z leap day ends",
            "2024-02-29T23:59:59Z just before midnight",
            "2024-03-01T00:00:00Z march",
            "2024-03-01T00:00:00Z march again",
        ],
    )


async def check_rejected_lines(box: Box) -> None:
    equal(await box.lines("rejected.log"), ["-- marker --", "time unknown"])
