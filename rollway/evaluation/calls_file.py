"""The model calls of a run as they went over the wire, in ``calls/part-*.jsonl`` of its directory.

One line per request, each with the key of its rollout. A line is whole or, where a crash cut it, the last of
its part; each sitting begins a part of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from rollway.evaluation.run_directory.parts import write_all
from rollway.evaluation.tasks import Key

PART_BYTES = 256 * 2**20
"""A part that has grown beyond this is closed and the next begun."""


class CallsWriter:
    """Appends to the calls of a run. Makes nothing before the first."""

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / "calls"
        self._part: IO[bytes] | None = None

    def append(self, key: Key, exchanges: Sequence[bytes]) -> None:
        """Write the encoded exchanges of one rollout.

        Raises:
            OSError: the disk is full, say. What was written before stays readable.
        """
        if not exchanges:
            return
        if self._part is not None and self._part.tell() >= PART_BYTES:
            self.close()
        if self._part is None:
            self._part = self._next_part().open("xb", buffering=0)
        whose = b'{"task_id":%s,"sample_index":%d,' % (msgspec.json.encode(key[0]), key[1])
        try:
            write_all(self._part, b"".join(whose + line[1:] + b"\n" for line in exchanges))
        except OSError:
            self._part.close()  # nothing may follow half a line
            self._part = None
            raise

    def close(self) -> None:
        """Bring everything to the disk."""
        if self._part is not None:
            os.fsync(self._part.fileno())
            self._part.close()
            self._part = None

    def _next_part(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"part-{len(list(self._folder.glob('part-*.jsonl'))):05d}.jsonl"
