"""The run directory: the one place that holds what a run asked for and what came of it.

The invariant: ``trajectories/*.jsonl`` holds each key (task_id, sample_index) at most once, in whole lines,
whenever no driver is running; a crash at any moment loses at most the line that was being written. One
driver at a time: the second is refused.

    config.yaml               the resolved config
    trajectories/part-*.jsonl every rollout that ended, one line each; each start opens a part of its own
    set_aside.jsonl           rollouts that were done again or interrupted, and torn lines; never counted
    log.txt, summary.json, report.html, lock
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from pydantic import ValidationError

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig, differing_field
from rollway.evaluation.keys import KeySet
from rollway.evaluation.tasks import Key
from rollway.evaluation.yaml_text import parse_yaml, write_yaml
from rollway.trajectory import FAILURES, ErrorRecord, StopReason, Trajectory, decode_trajectory

PART_BYTES = 256 * 2**20
"""A part that has grown beyond this is closed and the next begun."""

_log = logging.getLogger(__name__)


class Ending(msgspec.Struct):
    """As much of a stored line as it takes to know whether the rollout is to be done again."""

    id: str
    task_id: str
    sample_index: int = 0
    stop_reason: StopReason | None = None
    reward: float | None = None
    error: ErrorRecord | None = None


_ENDING_DECODER = msgspec.json.Decoder(Ending)


def is_failed(ending: Ending | Trajectory) -> bool:
    """Did the rollout end without saying anything about the policy, or its reward function raise?"""
    unscored = ending.reward is None and ending.error is not None
    return ending.stop_reason is None or ending.stop_reason in FAILURES or unscored


class RunDirectory:
    """An open run: locked, cleaned, and ready to be appended to. Close it, or use it as a context manager.

    ``done`` are the keys that are on record for good.
    """

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self.done = KeySet()
        self._lock = lock
        self._part: IO[bytes] | None = None
        self._aside: IO[bytes] | None = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything to the disk and let the next driver in."""
        self._close_part()
        if self._aside is not None:
            self._aside.close()
            self._aside = None
        self._lock.close()

    def append(self, key: Key, line: bytes) -> None:
        """Write one rollout that ended. It is in the file, whole, when this returns.

        Raises:
            ValueError: this key is on record already.
        """
        if key in self.done:
            raise ValueError(f"rollout {key} is on record already")
        if self._part is not None and self._part.tell() >= PART_BYTES:
            self._close_part()
        if self._part is None:
            self._part = self._next_part().open("xb", buffering=0)
        try:
            _write_all(self._part, line + b"\n")
        except OSError:
            self._part.close()  # nothing may follow half a line
            self._part = None
            raise
        self.done.add(key)

    def set_aside(self, line: bytes) -> None:
        """Keep a line that does not count."""
        if self._aside is None:
            self._aside = (self.path / "set_aside.jsonl").open("ab")
        self._aside.write(line.rstrip(b"\n") + b"\n")
        self._aside.flush()

    def rewrite(self, change: Callable[[bytes], bytes | None]) -> None:
        """Put every stored line through ``change``; ``None`` takes it out. A part is replaced in one step,
        or, when no line of it changed, left alone."""
        self._close_part()
        for part in part_files(self.path):
            _rewrite_part(part, change)

    def _next_part(self) -> Path:
        parts = part_files(self.path)
        number = int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 0
        return self.path / "trajectories" / f"part-{number:05d}.jsonl"

    def _close_part(self) -> None:
        if self._part is not None:
            os.fsync(self._part.fileno())
            self._part.close()
            self._part = None

    def take_stock(self, is_asked: Callable[[Key], bool]) -> None:
        """Read what is there: `done` are the keys that count, everything else is set aside."""
        seen = KeySet()

        def keep(line: bytes) -> bytes | None:
            reason = _reason_to_set_aside(line, seen, is_asked)
            if reason is None:
                return line if line.endswith(b"\n") else line + b"\n"
            _log.warning("%s", reason)
            self.set_aside(line)
            return None

        self.rewrite(keep)
        self.done = seen


def _reason_to_set_aside(line: bytes, seen: KeySet, is_asked: Callable[[Key], bool]) -> str | None:
    """Why a stored line does not count; a line that does is added to ``seen``."""
    try:
        ending = _ENDING_DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"a torn line of {len(line)} bytes is set aside; its rollout is done again"
    key = (ending.task_id, ending.sample_index)
    if key in seen:
        return f"rollout {key} was on record twice; the later line is set aside"
    if not is_asked(key):
        return f"rollout {key} is not asked for any more: have the environment's tasks changed?"
    if is_failed(ending):
        return f"rollout {key} failed ({ending.stop_reason or 'unfinished'}); it is done again"
    seen.add(key)
    return None


def default_path(name: str, now: str) -> Path:
    """``runs/<name>-<now>`` under the current folder, with a number behind it where that is taken."""
    first = Path("runs") / f"{name}-{now}"
    path, number = first, 2
    while path.exists():
        path, number = first.with_name(f"{first.name}-{number}"), number + 1
    return path


def open_run(path: Path, config: EvalConfig) -> RunDirectory:
    """Create the run directory, or open it to go on with the same run.

    Raises:
        UserError: it belongs to a run of another configuration, another driver is at work in it, it is no
            run directory, or it cannot be written.
    """
    refuse_other_run(path, config)
    try:
        (path / "trajectories").mkdir(parents=True, exist_ok=True)
        run = RunDirectory(path, _lock(path))
    except OSError as error:
        raise UserError(f"cannot write to the run directory {path}: {error.strerror or error}") from None
    refuse_other_run(path, config)  # whoever held the lock until now may have written it
    _write_whole(path / "config.yaml", write_yaml(config.as_dict()))
    return run


def discard_empty(path: Path) -> None:
    """Take away the directory of a run in which nothing was recorded. Its lock must be ours."""
    if part_files(path) or (path / "set_aside.jsonl").exists():
        return
    for name in ("config.yaml", "log.txt", "lock"):
        (path / name).unlink(missing_ok=True)
    for folder in (path / "trajectories", path):
        try:
            folder.rmdir()
        except OSError:
            return  # what is left there is not ours


def holds_run(path: Path) -> bool:
    """Is there a run in ``path``?"""
    return (path / "config.yaml").exists()


def refuse_other_run(path: Path, config: EvalConfig) -> None:
    """Look, without writing anything, whether ``config`` may be run in ``path``.

    Raises:
        UserError: it may not, and why.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file; give a folder for the run")
    if not holds_run(path):
        left = [
            entry.name for entry in path.iterdir() if entry.name not in ("lock", "log.txt", "trajectories")
        ]
        if left or part_files(path):
            raise UserError(f"{path} is not empty and no run directory (it has no config.yaml); give another")
        return
    old, new = _completed(read_config(path)), config.as_dict()
    if new["model"]["name"] is None:
        new["model"]["name"] = old.get("model", {}).get("name")
    field = differing_field(old, new)
    if field is not None:
        raise UserError(
            f"{path} holds a run of another configuration: {field} was {_at(old, field)!r} and "
            f"is now {_at(new, field)!r}; give another --out, or go on with: rollway eval --resume {path}"
        )


def read_config(path: Path) -> dict[str, Any]:
    """The plain values of a run's ``config.yaml``.

    Raises:
        UserError: there is none, or it is no config.
    """
    file = path / "config.yaml"
    try:
        values = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    except OSError:
        raise UserError(f"{path} is no run directory: it has no config.yaml that can be read") from None
    if not isinstance(values, dict):
        raise UserError(f"{file} is no config")
    return values


def part_files(path: Path) -> list[Path]:
    """The files with a run's trajectories, in the order in which they were written."""
    return sorted((path / "trajectories").glob("part-*.jsonl"))


def read_trajectories(path: Path | str) -> Iterator[Trajectory]:
    """The trajectories of a run directory, one at a time. A torn last line is left out.

    Raises:
        UserError: another line is no trajectory.
    """
    for part in part_files(Path(path)):
        with part.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield decode_trajectory(line)
                except msgspec.DecodeError as error:
                    if not line.endswith(b"\n"):
                        return
                    raise UserError(f"{part}, line {number}: no trajectory: {error}") from None


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    """A stored config with defaults for fields that its version did not have yet."""
    try:
        return EvalConfig.model_validate(values).as_dict()
    except ValidationError:
        return values


def _at(values: dict[str, Any], dotted: str) -> Any:
    found: Any = values
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _lock(path: Path) -> IO[str]:
    """Hold the run's lock. The system lets go of it when the process ends, however it ends."""
    file = (path / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise UserError(f"another driver is at work in {path} (process {holder}); wait for it") from None
    except OSError as error:
        _log.warning("this file system has no locks (%s); see to it that one driver runs at a time", error)
    file.truncate(0)
    file.write(f"{os.getpid()} on {os.uname().nodename}\n")
    file.flush()
    return file


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _rewrite_part(part: Path, change: Callable[[bytes], bytes | None]) -> None:
    """Write the part anew from its first changed line on, and put it in the old one's place."""
    temporary = part.with_name(f".{part.name}.new")
    new: IO[bytes] | None = None
    same = 0  # bytes before the first change
    with part.open("rb") as old:
        for line in old:
            kept = change(line)
            if new is None and kept != line:
                new = temporary.open("wb")
                _copy(part, new, same)
            if new is None:
                same += len(line)
            elif kept is not None:
                new.write(kept)
    if new is not None:
        new.flush()
        os.fsync(new.fileno())
        new.close()
        temporary.replace(part)


def _write_all(file: IO[bytes], data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _copy(source: Path, target: IO[bytes], count: int) -> None:
    with source.open("rb") as file:
        while count > 0 and (block := file.read(min(count, 1 << 20))):
            target.write(block)
            count -= len(block)
