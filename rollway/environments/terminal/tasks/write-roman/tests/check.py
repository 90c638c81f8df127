from rollway.environments.terminal.checking import Box, equal

ONES = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"]
TENS = ["", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"]
HUNDREDS = ["", "C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM"]


def roman(n: int) -> str:
    return "M" * (n // 1000) + HUNDREDS[n // 100 % 10] + TENS[n // 10 % 10] + ONES[n % 10]


async def answers(box: Box, lines: list[str]) -> list[str]:
    return (
        (await box.output("python3", "roman.py", stdin=("\n".join(lines) + "\n").encode()))
        .strip()
        .split("\n")
    )


async def check_numbers_to_roman(box: Box) -> None:
    equal(await answers(box, [str(n) for n in range(1, 4000)]), [roman(n) for n in range(1, 4000)])


async def check_roman_to_numbers(box: Box) -> None:
    equal(await answers(box, [roman(n) for n in range(1, 4000)]), [str(n) for n in range(1, 4000)])


async def check_errors(box: Box) -> None:
    lines = ["IIII", "VX", "IC", "0", "4000", "MMMM", "-3", "1.5", "abc", "IVI", "LL", "xIv", "  9 ", "CMC"]
    expected = ["error"] * 11 + ["14", "IX", "error"]
    equal(await answers(box, lines), expected)
