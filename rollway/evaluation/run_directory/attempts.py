"""``attempts.jsonl``: every try of a rollout that failed or was lost, one line each.

The invariant: a line is in the file, whole, before the rollout is tried again, so that no failed try is
forgotten, however the run ends. Nothing is read from it to decide what is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from rollway.evaluation.run_directory.parts import write_all

MOST_MESSAGE = 500
"""Characters of an error's message; log.txt and the trajectory have the whole."""


class AttemptRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try that gave no score."""

    task_id: str
    sample_index: int
    number: int  # of the tries of this rollout in this sitting, from 1
    worker: str  # as in the run's log
    node: str  # the machine's name; "" when not known
    fault: str  # `rollway.evaluation.whose_fault.Fault`
    kind: str  # the error's type, such as "ServerUnreachable"; "WorkerDied" for one that was lost
    message: str
    seconds: float  # that it took
    time: float  # when it ended, in Unix seconds
    server: str = ""  # the model's, where one was called
    again: bool = False  # it was going to be tried again


def in_short(message: str) -> str:
    """A message on one line, cut at its length."""
    line = " ".join(message.split())
    return line if len(line) <= MOST_MESSAGE else f"{line[:MOST_MESSAGE]}..."


class AttemptsWriter:
    """Appends to a run's ``attempts.jsonl``, which is made with the first line. Close it."""

    def __init__(self, run: Path) -> None:
        self.path = run / "attempts.jsonl"
        self._file: IO[bytes] | None = None

    def append(self, record: AttemptRecord) -> None:
        """Write one line.

        Raises:
            OSError: it could not be written; half a line is cut off again.
        """
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
            self._end_torn_line(self._file)
        began = self._file.seek(0, os.SEEK_END)
        try:
            write_all(self._file, msgspec.json.encode(record) + b"\n")
        except BaseException:
            with suppress(OSError):
                self._file.truncate(began)
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end_torn_line(self, file: IO[bytes]) -> None:
        """What a killed driver left of a line stays, and nothing is glued to it."""
        if file.seek(0, os.SEEK_END) == 0:
            return
        with self.path.open("rb") as written:
            written.seek(-1, os.SEEK_END)
            if written.read(1) != b"\n":
                write_all(file, b"\n")


def read_attempts(run: Path) -> Iterator[AttemptRecord]:
    """The tries on record, in the order in which they ended. Torn lines are left out."""
    try:
        file = (run / "attempts.jsonl").open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                yield msgspec.json.decode(line, type=AttemptRecord)
