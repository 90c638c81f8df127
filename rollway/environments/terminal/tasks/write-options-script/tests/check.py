from rollway.environments.terminal.checking import Box, ensure, equal

LINES = "".join(
    f"{word}\n" for word in ["k", "q", "k", "a", "", "z", "q", "\tx", "b", "a", "m", "n", "o", "p", "r"]
).encode()


async def shown(box: Box, *options: str) -> list[str]:
    folder = await box.fresh()
    await box.put(f"{folder}/in put", LINES)
    script = box.inside("lines.sh")
    return (await box.output("bash", script, *options, "in put", directory=folder)).split("\n")[:-1]


async def check_count(box: Box) -> None:
    words = LINES.decode().split("\n")[:-1]
    equal(await shown(box), words[:10])
    equal(await shown(box, "-n", "3"), words[:3])
    equal(await shown(box, "-n", "99"), words)


async def check_unique_and_reverse(box: Box) -> None:
    words = list(dict.fromkeys(LINES.decode().split("\n")[:-1]))
    equal(await shown(box, "-u", "-n", "5"), words[:5])
    equal(await shown(box, "-n", "4", "-r"), LINES.decode().split("\n")[:4][::-1])
    equal(await shown(box, "-r", "-n", "6", "-u"), words[:6][::-1])


async def check_standard_input(box: Box) -> None:
    script = box.inside("lines.sh")
    equal(await box.output("bash", script, "-n", "2", stdin=b"x y\nz\nw\n"), "x y\nz\n")


async def check_wrong_usage(box: Box) -> None:
    await box.data("lines.sh")
    script = box.inside("lines.sh")
    for options in (["-x"], ["-n", "two"], ["no such file"]):
        done = await box.run("bash", script, *options, stdin=b"a\n")
        equal((done.exit_code, done.stdout), (2, b""))
        equal(done.stderr.decode().strip().count("\n"), 0)
        ensure(done.stderr.strip() != b"", "nothing on standard error")
