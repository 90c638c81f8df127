"""Files that are there whole or not at all: written beside their place, brought to the disk, then put there.

What could not be written leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in its place; the old one or the new one is there at every moment.

    Raises:
        OSError: it could not be written. The old one is as it was.
    """
    with taking_the_place_of(path) as file:
        file.write(content)


@contextmanager
def taking_the_place_of(path: Path) -> Iterator[IO[bytes]]:
    """A file to be written, which is ``path`` when the block has ended, and is gone when it raised."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
