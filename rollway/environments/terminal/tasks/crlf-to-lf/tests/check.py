from rollway.environments.terminal.checking import Box, equal

CONVERTED = {"win.txt": b"one\ntwo\n", "a b/mixed.md": b"one\ntwo\nthree", "t.csv": b'a,b\n1,"x\ry"\n'}
UNTOUCHED = {
    "unix.txt": b"unix\nonly\n",
    "mac.md": b"lone\rreturn\n",
    "pic.png": b"\x89PNG\r\n\x1a\n\x00\r\n",
    "run.bat": b"run\r\n",
}


async def check_text_files_are_converted(box: Box) -> None:
    for path, data in CONVERTED.items():
        equal(await box.data(f"docs/{path}"), data)


async def check_the_others_are_untouched(box: Box) -> None:
    tree = await box.tree("docs")
    equal({path for path, entry in tree.items() if entry.kind == "f"}, {*CONVERTED, *UNTOUCHED})
    for path, data in UNTOUCHED.items():
        equal(await box.data(f"docs/{path}"), data)
        equal(tree[path].modified, 1577934245)
