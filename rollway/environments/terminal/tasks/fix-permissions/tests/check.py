from rollway.environments.terminal.checking import Box, equal

MODES = {
    "": 0o755,
    "bin": 0o755,
    "html": 0o755,
    "html/img": 0o755,
    "html/old pages": 0o755,
    "secrets": 0o700,
    "bin/run": 0o755,
    "bin/stop.sh": 0o755,
    "html/old pages/de ploy.sh": 0o755,
    "html/index.html": 0o644,
    "html/img/logo.png": 0o644,
    "notes.sh.txt": 0o644,
    "secrets/key.pem": 0o600,
    "secrets/.token": 0o600,
}
CONTENT = {
    "bin/run": "echo run\n",
    "html/img/logo.png": "png\n",
    "secrets/.token": "k2\n",
    "notes.sh.txt": "notes\n",
}


async def check_modes(box: Box) -> None:
    tree = await box.tree("site")
    equal(
        {path: oct(entry.mode) for path, entry in tree.items()}, {path: oct(m) for path, m in MODES.items()}
    )


async def check_content_is_untouched(box: Box) -> None:
    for path, text in CONTENT.items():
        equal(await box.text(f"site/{path}"), text)
