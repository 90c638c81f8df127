from rollway.environments.terminal.checking import Box, equal

NAMES = {
    "plain.txt": b"1\n",
    "two words.txt": b"2\n",
    "-n.txt": b"3\n",
    "star*.txt": b"4\n",
    "new\nline.txt": b"5\n",
}


async def check_odd_names(box: Box) -> None:
    folder = await box.fresh()
    for name, data in {**NAMES, "other.md": b"6\n"}.items():
        await box.put(f"{folder}/my source/{name}", data)
    script = box.inside("backup.sh")
    output = await box.output("bash", script, "my source", "the target", directory=folder)
    equal(output.strip(), "5 files copied")
    tree = await box.tree(f"{folder}/the target")
    equal(set(tree), {"", *(f"{name}.bak" for name in NAMES)})
    for name, data in NAMES.items():
        equal(await box.data(f"{folder}/the target/{name}.bak"), data)


async def check_no_files_and_an_existing_target(box: Box) -> None:
    folder = await box.fresh()
    await box.put(f"{folder}/empty/readme.md", b"x")
    await box.put(f"{folder}/target/old.txt", b"old")
    script = box.inside("backup.sh")
    equal((await box.output("bash", script, "empty", "target", directory=folder)).strip(), "0 files copied")
    equal(set(await box.tree(f"{folder}/target")), {"", "old.txt"})


async def check_folders_that_begin_with_a_hyphen(box: Box) -> None:
    folder = await box.fresh()
    await box.put(f"{folder}/-s/a.txt", b"a")
    script = box.inside("backup.sh")
    equal((await box.output("bash", script, "-s", "-t", directory=folder)).strip(), "1 files copied")
    equal(await box.data(f"{folder}/-t/a.txt.bak"), b"a")
