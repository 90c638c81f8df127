"""Files that are there whole or not at all: written beside their place, brought to the disk, then put there.

What could not be written leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


def write_whole(path: Path, content: bytes, *, to_disk: bool = True) -> None:
    """Put a file in its place; the old one or the new one is there at every moment.

    Args:
        to_disk: wait until the disk has it. Without, a machine that loses its power may keep an empty file.

    Raises:
        OSError: it could not be written. The old one is as it was.
    """
    with taking_the_place_of(path, to_disk=to_disk) as file:
        file.write(content)


@contextmanager
def taking_the_place_of(path: Path, *, to_disk: bool = True) -> Iterator[IO[bytes]]:
    """A file to be written, which is ``path`` when the block has ended, and is gone when it raised.

    Two processes that write the same file do not get into each other's way: the last one to end counts.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    file = temporary.open("wb")
    try:
        yield file
        if to_disk:
            bring_to_disk(file)
        file.close()
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # what could not be written once cannot be now
            file.close()
        temporary.unlink(missing_ok=True)
        raise


def bring_to_disk(file: IO[bytes]) -> None:
    """Wait until the disk has all that was written.

    Raises:
        OSError: it has not.
    """
    file.flush()
    os.fsync(file.fileno())
