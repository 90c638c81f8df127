"""What the tasks of a run were, in ``tasks.jsonl`` of its directory: a digest of each field of each task.

The invariant: the digest of a task is on disk before a rollout of it begins. Of two lines with one task the
later counts: nothing of it was on record when the earlier was written, or somebody allowed the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from rollway.errors import UserError
from rollway.stored.identity import some_of

Fields = dict[str, str]
"""Name to digest of a task's fields; "" for a value that has none, which is never compared."""


class TaskDigest(msgspec.Struct, frozen=True):
    """One line of ``tasks.jsonl``."""

    task_id: str
    fields: Fields


_ENCODER = msgspec.json.Encoder(order="deterministic", enc_hook=lambda value: _plain(value))
_DECODER = msgspec.json.Decoder(TaskDigest)


def task_fields(task: Mapping[Any, Any]) -> Fields:
    """The digests of a task's fields but its id. A value that cannot be written as JSON has none."""
    return {str(name): _digest(value) for name, value in task.items() if name != "task_id"}


def _digest(value: Any) -> str:
    try:
        content = _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return ""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """What an array, a path or the like is in plain values."""
    as_list = getattr(value, "tolist", None)
    if callable(as_list):
        return as_list()
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"a {type(value).__name__} has no digest")


def changed_fields(before: Fields, now: Fields) -> list[str]:
    """What became of each field that is not what it was."""
    both = [name for name in before if name in now and before[name] and now[name]]
    told = [f"its {name!r} changed" for name in both if before[name] != now[name]]
    told += [f"its {name!r} is gone" for name in before if name not in now]
    return told + [f"its {name!r} is new" for name in now if name not in before]


class TaskDigests:
    """The digests that a run has on record. Of each task eight bytes are held; its fields are read again when
    they are asked for."""

    def __init__(self, run: Path) -> None:
        self._file = run / "tasks.jsonl"
        self._known = {line.task_id: _short(line.fields) for line in self._lines()}
        self._writing: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._known

    def matches(self, task_id: str, fields: Fields) -> bool:
        """Is a task what it was? One that is not on record is."""
        known = self._known.get(task_id)
        return known is None or known == _short(fields)

    def told(self, changed: Mapping[str, Fields]) -> str:
        """In one line, which tasks are not what they were, and how the first of them changed."""
        first, now = next(iter(changed.items()))
        before = [line.fields for line in self._lines() if line.task_id == first]
        how = some_of(changed_fields(before[-1], now)) or "a value of it changed"
        more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"task {first!r} is not what it was when the run began ({how}){more}"

    def add(self, task_id: str, fields: Fields) -> None:
        """Put a task on record. One that is there as it is now is not written again.

        Raises:
            OSError: it cannot be written.
        """
        short = _short(fields)
        if self._known.get(task_id) == short:
            return
        if self._writing is None:
            self._cut_torn()
            self._writing = self._file.open("ab", buffering=0)
        self._writing.write(msgspec.json.encode(TaskDigest(task_id, fields)) + b"\n")
        self._known[task_id] = short

    def close(self) -> None:
        """Let go of the file."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _lines(self) -> Iterator[TaskDigest]:
        """Every whole line. A torn last line is left out: no rollout of its task had begun.

        Raises:
            UserError: another line is none.
        """
        try:
            file = self._file.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self._file} cannot be read: {error.strerror or error}") from None
        with file:
            for number, line in enumerate(file, 1):
                try:
                    yield _DECODER.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    if line.endswith(b"\n"):
                        told = f"{self._file}, line {number}: not the digest of a task: {error}"
                        raise UserError(told) from None

    def _cut_torn(self) -> None:
        """Take half a line off the end, so that nothing is glued to it."""
        if not self._file.exists():
            return
        with self._file.open("r+b") as file:
            content_end = 0
            for line in file:
                if line.endswith(b"\n"):
                    content_end += len(line)
            file.truncate(content_end)


def changed_task(run: Path, tasks: Mapping[str, Mapping[Any, Any]]) -> str | None:
    """In one line, which of these tasks are not what they were when the run began; ``None``: all are, as far
    as the run says.

    Raises:
        UserError: what it says cannot be read.
    """
    digests = TaskDigests(run)
    changed = {}
    for task_id, task in tasks.items():
        if task_id in digests:
            fields = task_fields(task)
            if not digests.matches(task_id, fields):
                changed[task_id] = fields
    return digests.told(changed) if changed else None


def _short(fields: Fields) -> bytes:
    """Eight bytes for all fields that have a digest."""
    kept = sorted((name, digest) for name, digest in fields.items() if digest)
    return hashlib.blake2b(msgspec.json.encode(kept), digest_size=8).digest()
