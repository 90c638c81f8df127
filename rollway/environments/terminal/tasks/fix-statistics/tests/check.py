from rollway.environments.terminal.checking import Box, equal


async def run(box: Box, text: str) -> tuple[int, str]:
    done = await box.run("python3", "stats.py", stdin=text.encode())
    return done.exit_code, done.stdout.decode().strip()


async def check_an_even_number_of_unsorted_numbers(box: Box) -> None:
    equal(await run(box, "10\n2\n\n8\n5\n"), (0, "mean 6.25\nmedian 6.50\nrange 8.00"))


async def check_fractions_and_negative_numbers(box: Box) -> None:
    equal(await run(box, "-1.5\n7.25\n0.25\n"), (0, "mean 2.00\nmedian 0.25\nrange 8.75"))


async def check_one_number(box: Box) -> None:
    equal(await run(box, "  42 \n"), (0, "mean 42.00\nmedian 42.00\nrange 0.00"))
    equal(await run(box, "5\n4\n"), (0, "mean 4.50\nmedian 4.50\nrange 1.00"))


async def check_no_number(box: Box) -> None:
    equal(await run(box, "\n\n"), (1, "no numbers"))
    equal(await run(box, ""), (1, "no numbers"))
