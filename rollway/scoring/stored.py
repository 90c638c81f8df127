"""What offline scoring reads of a run directory: the configuration, the lines, and what was asked for.

Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from rollway.errors import UserError, nearest
from rollway.stored.lines import counted_lines, part_files


class StoredLine(msgspec.Struct, frozen=True):
    """One trajectory as it is stored, and as much of it as the driver of scoring needs."""

    line: bytes
    task_id: str
    sample_index: int


class Asked(msgspec.Struct, frozen=True):
    """What a run was asked for."""

    asked: int  # rollouts
    samples: int  # of each task


class StoredRun:
    """A run directory. ``torn_lines`` counts the last lines that the latest pass found torn.

    Raises:
        UserError: there is no run at ``path``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn_lines = 0
        self._parts = part_files(path)
        if not path.is_dir():
            raise UserError(f"no run directory {path}{_nearest_run(path)}")
        if not self._parts:
            raise UserError(
                f"{path} has no trajectories/*.jsonl; it is not a run directory, or holds no rollouts yet"
            )

    def config(self) -> dict[str, Any]:
        """The plain values of ``config.yaml``.

        Raises:
            UserError: there is none, or it is no config.
        """
        file = self.path / "config.yaml"
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict):
            raise UserError(f"{file} is not a config")
        return values

    def asked(self) -> Asked | None:
        """What ``summary.json`` says; ``None`` when the run was not finished or says nothing of it."""
        try:
            return msgspec.json.decode((self.path / "summary.json").read_bytes(), type=Asked)
        except (OSError, msgspec.DecodeError):
            return None

    def lines(self) -> Iterator[StoredLine]:
        """Every stored trajectory that counts, in the order of the files. Torn last lines are counted and
        left out.

        Raises:
            UserError: another line is no trajectory.
        """
        self.torn_lines = 0
        for stored in counted_lines(self._parts, on_torn=self._count_torn):
            yield StoredLine(stored.line, *stored.ending.key)

    def _count_torn(self, part: Path) -> None:
        self.torn_lines += 1


def _nearest_run(path: Path) -> str:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    return nearest(path.name, names)
