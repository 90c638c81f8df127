"""A sitting's first and last line in the run's log, and the last word in its ``status.json``.

The invariant: whoever reads the log alone knows of each sitting when it began, how, and why it ended; one
without a last line was killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from rollway.errors import UserError
from rollway.evaluation.conclusion import RunFailed, RunInterrupted
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.interrupts import INTERRUPTED
from rollway.evaluation.status import State, StatusFile
from rollway.evaluation.summary import RunSummary

MOST_TOLD = 4_000
"""Characters of the line; ``config.yaml`` has the whole."""

_log = logging.getLogger(__name__)


class Result(msgspec.Struct):
    """What a sitting comes to, as far as it is known."""

    status: StatusFile  # told of the end, if it has begun by then
    summary: RunSummary | None = None


@contextmanager
def start_and_end_logged(config: EvalConfig, folder: Path) -> Iterator[Result]:
    """Log the start, and however the block ends, the end, with the counts of the result's summary."""
    _log.info("started: %s", _shortened(_started(config)))
    began = time.monotonic()
    result = Result(StatusFile(folder))
    try:
        yield result
    except BaseException as error:
        if isinstance(error, RunFailed | RunInterrupted):
            result.summary = error.summary
        _ended(result, time.monotonic() - began, exit_code(error), why=_one_line(error))
        raise
    _ended(result, time.monotonic() - began, 0)


def _ended(result: Result, seconds: float, code: int, why: str = "") -> None:
    state: State = "interrupted" if code == INTERRUPTED else "failed" if code else "finished"
    result.status.end(state, why, result.summary)
    summary = result.summary
    counts = "nothing counted"
    if summary is not None:
        counts = f"{summary.scored} scored, {summary.failed} failed"
        counts += f", {summary.missing} missing" * bool(summary.missing)
    told = f"ended after {seconds:.0f} s: {counts}, exit {code}" + f": {why}" * bool(why)
    _log.log(logging.WARNING if code else logging.INFO, "%s", _shortened(told))


def exit_code(error: BaseException) -> int:
    """Of the command that ``error`` ends."""
    if isinstance(error, RunInterrupted | KeyboardInterrupt | asyncio.CancelledError):
        return INTERRUPTED
    return 2 if isinstance(error, UserError) else 1


def changed_settings(config: EvalConfig) -> list[str]:
    """``field=value`` of all that is not as by default."""
    return list(_differing(config.as_dict(), EvalConfig(environment="").as_dict(), ""))


def _started(config: EvalConfig) -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    where = f"process {os.getpid()} on {os.uname().nodename}"
    made = f"rollway {_version()}, Python {platform.python_version()}"
    return f"{made}, {where}, command: {command}, config: {', '.join(changed_settings(config))}"


def _differing(values: dict[str, Any], defaults: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, dict) and default:
            yield from _differing(value, default, f"{prefix}{name}.")
        elif value != default:
            yield f"{prefix}{name}={value}"


def _version() -> str:
    try:
        return metadata.version("rollway")
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return "(not installed)"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_TOLD else f"{text[:MOST_TOLD]}..."
