"""Whether files are what they were: by their names, sizes and content, at a cost that is bounded.

Up to `WHOLE_BYTES` in all are read whole. Of more, as many evenly spaced blocks are read, so that an edit
that keeps the size of a larger file may go unnoticed; one that changes a size never does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

WHOLE_BYTES = 256 * 2**20
BLOCK_BYTES = 2**18
MOST_BLOCKS = 256


def fingerprint(files: Mapping[str, Path]) -> str:
    """A digest of files, by the names that they go by. Where they lie does not count.

    Raises:
        OSError: one cannot be read.
    """
    sizes = {name: files[name].stat().st_size for name in sorted(files)}
    total = sum(sizes.values())
    step = BLOCK_BYTES if total <= WHOLE_BYTES else max(BLOCK_BYTES, total // MOST_BLOCKS)
    digest = hashlib.blake2b(digest_size=16)
    for name, size in sizes.items():
        digest.update(f"{name}\0{size}\0".encode())
        with files[name].open("rb") as file:
            for offset in range(0, size, step):
                file.seek(offset)
                digest.update(file.read(BLOCK_BYTES))
            if step > BLOCK_BYTES and size > BLOCK_BYTES:  # where formats keep what is in a file
                file.seek(size - BLOCK_BYTES)
                digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
