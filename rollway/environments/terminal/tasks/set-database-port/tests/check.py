from rollway.environments.terminal.checking import Box, ensure, equal

BEFORE = """; main configuration
[server]
host = 0.0.0.0
port = 5432   ; yes, the same number

[cache]
port=5432
host=cache1.internal

"""
AFTER = """
[database.replica]
host = db1.internal
port = 5432
"""


async def check_the_section_is_changed(box: Box) -> None:
    text = await box.text("app.ini")
    section = text.partition("\n[database]\n")[2].partition("\n[")[0].replace(" ", "").split("\n")
    ensure("host=db2.internal" in section, "host of [database]")
    ensure("port=6432" in section, "port of [database]")
    equal(
        [line for line in section if line],
        ["#movedlastyear:port=3306", "host=db2.internal", "port=6432", "user=app"],
    )


async def check_nothing_else_is_changed(box: Box) -> None:
    text = await box.text("app.ini")
    ensure(text.startswith(BEFORE + "[database]\n# moved last year: port = 3306\n"), "what stands before")
    ensure(text.endswith("user = app\n" + AFTER), "what stands after")
    ensure("db2.internal" in text, "the change itself")
