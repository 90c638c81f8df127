from rollway.environments.terminal.checking import Box, equal


async def check_content(box: Box) -> None:
    word = "".join(chr(97 + (n * n * 7 + 3 * n + 11) % 26) for n in range(14))
    equal((await box.text("note-content.txt")).strip(), word)
