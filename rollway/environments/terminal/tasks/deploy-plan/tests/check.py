from rollway.environments.terminal.checking import Box, ensure, equal


async def plan(box: Box, text: str) -> tuple[int, str, str]:
    folder = await box.fresh()
    await box.put(f"{folder}/s.ini", text.encode())
    done = await box.run("python3", "plan.py", f"{folder}/s.ini", timeout=15)
    ensure(not done.timed_out, "it did not end")
    return done.exit_code, done.stdout.decode().strip(), done.stderr.decode().strip()


async def check_the_order(box: Box) -> None:
    text = "[web]\nneeds = api, cache\n[api]\nneeds = db\n[cache]\n[db]\n[alone]\n"
    equal((await plan(box, text))[:2], (0, "alone\ncache\ndb\napi\nweb"))
    text = "[d]\n[c]\nneeds=d\n[b]\nneeds= d ,c\n[a]\nneeds=c\n[z]\n"
    equal((await plan(box, text))[:2], (0, "d\nc\na\nb\nz"))


async def check_cycles(box: Box) -> None:
    for text in ("[a]\nneeds=b\n[b]\nneeds=c\n[c]\nneeds=b\n[d]\n", "[a]\nneeds=a\n"):
        code, shown, told = await plan(box, text)
        equal((code, shown), (1, ""))
        ensure(bool(told) and "\n" not in told, "one line on standard error")


async def check_undefined_services(box: Box) -> None:
    code, shown, told = await plan(box, "[a]\nneeds=ghost\n[b]\n")
    equal((code, shown), (1, ""))
    ensure(bool(told) and "\n" not in told, "one line on standard error")
