from rollway.environments.terminal.checking import Box, ensure, equal


async def check_what_is_left(box: Box) -> None:
    equal(
        set(await box.tree("project")),
        {"", "src", "src/main.c", "src/util", "src/util/.keep", "a", "a/blank", "kept", "kept/.keep"},
    )


async def check_content(box: Box) -> None:
    equal(await box.text("project/a/blank"), " ")
    ensure("src/empty.c" not in await box.tree("project"), "empty files go")
