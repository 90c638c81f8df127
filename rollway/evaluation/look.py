"""What can be told of a run from its folder alone: is it at work, how far is it, and does it need somebody?

The invariant: nothing is written, and a run that is at work is not disturbed.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console

from rollway.errors import UserError
from rollway.evaluation.progress import duration_text
from rollway.evaluation.run_directory import holds_run
from rollway.evaluation.status import WRITE_SECONDS, Status, read_status
from rollway.evaluation.summary import RunSummary, read_summary
from rollway.evaluation.table import Block, count_lines, number_text, print_blocks, summary_blocks
from rollway.stored.lines import Standing, counted_lines, part_files, standing

STALE_SECONDS = 3 * WRITE_SECONDS + 5
"""A process at work writes its status more often."""

Found = Literal["running", "finished", "interrupted", "failed", "gone", "not heard of", "unfinished"]


class Records(msgspec.Struct):
    """What is on record, counted line by line."""

    scored: int = 0
    unscored: int = 0  # whole, without a score
    failed: int = 0  # to be retried


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as it was found."""

    run: str  # the folder
    state: Found
    well: bool  # it is at work, or finished
    told: str  # the state in words
    seen: float  # Unix seconds
    status: Status | None = None  # as the run wrote it last; None: it wrote none
    records: Records | None = None  # counted where there is no status


def look_at(run: Path, *, now: float | None = None) -> Look:
    """Look at the run in a folder. ``now``: Unix seconds.

    Raises:
        UserError: there is no run.
    """
    if not holds_run(run):
        raise UserError(f"{run} is not a run directory: it has no config.yaml")
    now = time.time() if now is None else now
    status = read_status(run)
    state, told = _without_status(run) if status is None else _by_status(run, status, now)
    return Look(
        run=str(run),
        state=state,
        well=state in ("running", "finished"),
        told=told,
        seen=now,
        status=status,
        records=_counted(run) if status is None else None,
    )


def print_look(look: Look, console: Console) -> None:
    """Print a small table, and below it the summary of a run that is not at work."""
    summary = None if look.state == "running" else _summary(Path(look.run))
    blocks: list[Block] = [("run", [look.run]), ("state", [look.told])]
    if look.status is not None and summary is None:
        blocks += _status_blocks(look.status, look.seen)
    if look.records is not None and summary is None:
        records = look.records
        counts = f"{records.scored:,} scored, {records.failed:,} failed"
        counts += f", {records.unscored:,} without a score" * bool(records.unscored)
        blocks.append(("rollouts", [f"{counts} on disk"]))
    if summary is not None:
        blocks += [block for block in summary_blocks(summary) if block[0] != "run"]
    print_blocks(blocks, console)


def _by_status(run: Path, status: Status, now: float) -> tuple[Found, str]:
    age = max(0.0, now - status.updated)
    process = f"process {status.pid} on {status.node}"
    written = f"last written {_ago(age)}"
    if status.state == "running" and age <= STALE_SECONDS and not _is_dead(status):
        return "running", f"running for {duration_text(now - status.started)}: {process}, {written}"
    holder = _holder(run)
    if holder and holder != f"{status.pid} on {status.node}":
        return "running", f"process {holder} has begun, and has not written its status yet"
    if status.state != "running":
        told = f": {status.reason}" if status.reason else ""
        return status.state, f"{status.state} {_ago(age)}{told}"
    if holder == "" or (holder is None and _is_dead(status)):
        return "gone", f"{written}: {process} is gone; resume with: rollway eval --resume {run}"
    return "not heard of", f"{written}: {process} is not heard of, though it may still be there"


def _without_status(run: Path) -> tuple[Found, str]:
    """Of a run of an older version, or one that has not got so far."""
    holder = _holder(run)
    if holder:
        return "running", f"running: process {holder}, without a status.json"
    summary = _summary(run)
    if summary is not None and not summary.missing:
        return "finished", "finished"
    return "unfinished", f"not running, and not finished; resume with: rollway eval --resume {run}"


def _holder(run: Path) -> str | None:
    """Who has the run open, as its lock says; "": nobody; ``None``: it cannot be told."""
    try:
        with (run / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "unknown"
            return ""
    except FileNotFoundError:
        return ""
    except OSError:  # a file system without locks
        return None


def _is_dead(status: Status) -> bool:
    """Has its process ended, as far as can be seen from this machine?"""
    if status.node != os.uname().nodename:
        return False
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's
        pass
    return False


def _summary(run: Path) -> RunSummary | None:
    try:
        return read_summary(run / "summary.json")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _counted(run: Path) -> Records:
    """Count the lines that count. A torn line is one that is being written."""
    records = Records()
    for line in counted_lines(part_files(run)):
        match standing(line.ending):
            case Standing.SCORED:
                records.scored += 1
            case Standing.UNSCORED:
                records.unscored += 1
            case _:
                records.failed += 1
    return records


def _status_blocks(status: Status, now: float) -> list[Block]:
    return [
        ("rollouts", _rollouts(status)),
        ("speed", _speed(status)),
        ("workers", _workers(status, now)),
        ("servers", [server.line(now) or f"server {server.address} is up" for server in status.servers]),
        ("oldest", [rollout.told() for rollout in status.oldest]),
    ]


def _rollouts(status: Status) -> list[str]:
    lines = [f"{status.done:,} of {status.asked:,} done, {status.in_flight:,} in flight"]
    since = f"{status.scored:,} scored, {status.failed:,} failed"
    lines.append(f"{since} since this start" if status.before else since)
    return lines + count_lines(status.failures, "failed: ")


def _speed(status: Status) -> list[str]:
    if status.state != "running":
        return []
    left = "" if status.seconds_left is None else f", {duration_text(status.seconds_left)} left"
    speed = f"{status.rollouts_per_second:,.2f} rollouts/s, {status.tokens_per_second:,.0f} tokens/s{left}"
    reward = status.mean_reward
    return [speed] if reward is None else [speed, f"mean reward {number_text(reward)} since this start"]


def _workers(status: Status, now: float) -> list[str]:
    lines = []
    if status.workers_asked and status.state == "running" and len(status.workers) != status.workers_asked:
        lines.append(f"{status.workers_asked} workers asked, {len(status.workers)} run")
    for worker in status.workers:
        heard = "" if worker.heard is None else f", heard {_ago(now - worker.heard)}"
        lag = f", has not answered for {worker.lag:.0f} s" if worker.lag >= 1 else ""
        lines.append(f"{worker.name}: {worker.in_flight} in flight{heard}{lag}")
        if worker.blocker is not None:
            lines.append(f"  held up by {worker.blocker.told()}")
    return lines


def _ago(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 172_800 else f"{seconds / 86_400:.0f} days ago"
