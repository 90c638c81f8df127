"""Whose a folder is: opening it for a run, and refusing what is another's.

The invariant: nothing is written into a folder that holds something else, or a run of another
configuration, and one driver at a time has a run open.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig, validate
from rollway.evaluation.run_directory.same_run import difference
from rollway.evaluation.run_directory.writing import RunDirectory
from rollway.evaluation.yaml_text import parse_yaml, write_yaml
from rollway.stored.lines import part_files

_log = logging.getLogger(__name__)


def default_path(name: str, now: str) -> Path:
    """``runs/<name>-<now>`` under the current folder, for a run that was given no folder."""
    return Path("runs") / f"{name}-{now}"


def claim_path(first: Path) -> Path:
    """Make a folder that is this run's alone: ``first``, or with a number behind it where that is taken. Runs
    that begin at the same moment each get their own.

    Raises:
        UserError: no folder can be made there.
    """
    path, number = first, 2
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                path.mkdir()
                return path
            except FileExistsError:
                path, number = first.with_name(f"{first.name}-{number}"), number + 1
    except OSError as error:
        raise _cannot_write(path, error) from None


def open_run(path: Path, config: EvalConfig) -> RunDirectory:
    """Create the run directory, or open it to go on with the same run. What is asked for now is
    written when the run goes on, not before.

    Raises:
        UserError: its run has a different configuration, another driver is at work in it, it is not a
            run directory, or it cannot be written.
    """
    refuse_other_run(path, config)
    try:
        (path / "trajectories").mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        refuse_other_run(path, config)  # whoever held the lock until now may have written it
        _write_head(path, lock)
        run = RunDirectory(path, lock, config=write_yaml(config.as_dict()).encode())
        if not holds_run(path):
            _write_config(run)
    except BaseException:
        lock.close()
        raise
    return run


def discard_empty(path: Path) -> None:
    """Take away the directory of a run in which nothing was recorded. Its lock must be ours."""
    if part_files(path) or (path / "set_aside.jsonl").exists():
        return
    for name in ("config.yaml", "identity.json", "tasks.jsonl", "log.txt", "status.json", "lock"):
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
            entry.name
            for entry in path.iterdir()
            if entry.name not in ("lock", "log.txt", "status.json", "trajectories")
        ]
        if left or part_files(path):
            raise UserError(
                f"{path} is not empty and not a run directory (it has no config.yaml); choose another"
            )
        return
    other = difference(stored_config(path), config)
    if other is not None:
        raise UserError(
            f"{path} holds a run with a different configuration: {other}; choose another --out, or resume "
            f"with: rollway eval --resume {path}"
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
        raise UserError(f"{path} is not a run directory: it has no readable config.yaml") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a config: it is not UTF-8 text ({error.reason})") from None
    if not isinstance(values, dict):
        raise UserError(f"{file} is not a config")
    return values


def stored_config(path: Path) -> EvalConfig:
    """A run's ``config.yaml``, with defaults for fields that its version did not have yet.

    Raises:
        UserError: there is none, or it is no config of this version.
    """
    return validate(read_config(path), str(path / "config.yaml"))


def _lock(path: Path) -> IO[str]:
    """Hold the run's lock. The system lets go of it when the process ends, however it ends."""
    file = (path / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise UserError(
            f"another rollway process ({holder}) is running in {path}; wait for it to end"
        ) from None
    except OSError as error:
        _log.warning(
            "this file system has no locks (%s); make sure that only one rollway process uses it", error
        )
    return file


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to the run directory {path}: {error.strerror or error}")


def _write_head(path: Path, lock: IO[str]) -> None:
    """Write who holds the lock."""
    with _taken_away_if_new(path):
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), f"{os.getpid()} on {os.uname().nodename}\n".encode())


def _write_config(run: RunDirectory) -> None:
    with _taken_away_if_new(run.path):
        run.write_config()


@contextmanager
def _taken_away_if_new(path: Path) -> Iterator[None]:
    """What cannot be written is told in one line, and leaves no folder of a new run."""
    is_new = not holds_run(path)
    try:
        yield
    except OSError as error:
        if is_new:
            discard_empty(path)
        raise _cannot_write(path, error) from None
