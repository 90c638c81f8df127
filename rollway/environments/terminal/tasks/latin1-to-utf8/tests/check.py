from rollway.environments.terminal.checking import Box, equal

TEXTS = {
    "utf8.txt": "café\n",
    "latin.txt": "café crème\n",
    "bom.txt": "naïf\n",
    "ascii.txt": "plain\n",
    "mixed.txt": "£ 50 Ã©\n",
    "y.old file.txt": "ÿþ thorn\n",
}


async def check_texts(box: Box) -> None:
    for name, text in TEXTS.items():
        equal(await box.data(f"texts/{name}"), text.encode())
    equal(set(await box.tree("texts")), {"", *TEXTS})


async def check_list(box: Box) -> None:
    equal(await box.lines("converted.txt"), ["latin.txt", "mixed.txt", "y.old file.txt"])
