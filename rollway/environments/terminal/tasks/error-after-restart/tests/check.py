from rollway.environments.terminal.checking import Box, equal


async def check_request_id(box: Box) -> None:
    first = next(n for n in range(1890, 2400) if n % 97 == 0)
    equal((await box.text("answer.txt")).strip(), f"{first * 7919 % 100003:05x}")
