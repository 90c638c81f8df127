from rollway.environments.terminal.checking import Box, equal

NAMES = ["Alpha", "beta", "gamma", "delta", "Epsilon", "zeta"]


async def check_each_name_stands_once_in_its_first_spelling(box: Box) -> None:
    equal(await box.text("hosts.txt"), "".join(f"{name}.example.org\n" for name in NAMES))
