from rollway.environments.terminal.checking import Box, equal

PLACES = {
    "jpg/Photo.JPG",
    "jpg/photo two.jpg",
    "gz/archive.tar.gz",
    "other/README",
    "other/.hidden",
    "sh/.profile.sh",
    "txt/-rf.txt",
    "txt/a.TXT",
    "keep.d/x.txt",
}


async def check_every_file_is_in_its_place(box: Box) -> None:
    files = {path for path, entry in (await box.tree("inbox")).items() if entry.kind == "f"}
    equal(files, PLACES)


async def check_content(box: Box) -> None:
    for path in PLACES - {"keep.d/x.txt"}:
        equal(await box.text(f"inbox/{path}"), path.partition("/")[2] + "\n")
    equal(await box.text("inbox/keep.d/x.txt"), "keep.d/x.txt\n")
