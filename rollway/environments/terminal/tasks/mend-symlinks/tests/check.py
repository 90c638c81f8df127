import posixpath

from rollway.environments.terminal.checking import Box, ensure, equal

ABSOLUTE = {"a/b/deep": "c/two.txt", "top": "a/one.txt", "with space/to three": "with space/three.txt"}
KEPT = {"a/good": "../c/two.txt", "a/chain": "good", "c/folder": "../a"}


async def check_broken_links_are_gone_and_no_other(box: Box) -> None:
    tree = await box.tree("tree")
    equal({path for path, entry in tree.items() if entry.kind == "l"}, {*ABSOLUTE, *KEPT})


async def check_absolute_links_are_relative_now(box: Box) -> None:
    tree = await box.tree("tree")
    for path, target in ABSOLUTE.items():
        link = tree[path].target
        ensure(not link.startswith("/"), f"{path} leads to {link}")
        equal(posixpath.normpath(posixpath.join(posixpath.dirname(path), link)), target)
    equal({path: tree[path].target for path in KEPT}, KEPT)


async def check_files_are_untouched(box: Box) -> None:
    tree = await box.tree("tree")
    files = {path for path, entry in tree.items() if entry.kind == "f"}
    equal(files, {"a/one.txt", "c/two.txt", "with space/three.txt"})
    equal(await box.text("tree/with space/three.txt"), "three\n")
