from rollway.environments.terminal.checking import Box, equal


async def check_rows(box: Box) -> None:
    equal(
        await box.lines("people.csv"),
        [
            "born,city,name",
            "1987-11-03,Leeds,Ann Lee",
            "2001-04-07,New York,Bo",
            "1996-02-29,Izmir,Cem",
            "1969-12-31,Cork,Di Ann",
            "2010-01-01,Rio,Ed",
        ],
    )
