"""Faults that strike once, whoever comes first: a file for each, which only one process can create.

The invariant: for one name, `strike` is true exactly once, in all processes and sittings of a run together.
"""

from __future__ import annotations

import os
from pathlib import Path


class Marks:
    """The folder of the marks, which all processes of a run share."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)

    def strike(self, kind: str, key: str, text: str = "") -> bool:
        """Is it our turn to strike? ``text`` is kept in the mark."""
        try:
            mark = os.open(self._folder / f"{kind}--{key}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        os.write(mark, text.encode())
        os.close(mark)
        return True

    def read(self, kind: str, key: str) -> str | None:
        """What a mark holds; None: it has not struck."""
        try:
            return (self._folder / f"{kind}--{key}").read_text()
        except FileNotFoundError:
            return None

    def struck(self) -> dict[str, list[str]]:
        """The keys that were struck, by kind."""
        found: dict[str, list[str]] = {}
        for path in sorted(self._folder.iterdir()):
            kind, _, key = path.name.partition("--")
            found.setdefault(kind, []).append(key)
        return found
