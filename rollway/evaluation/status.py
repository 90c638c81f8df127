"""``status.json``: how far a run is, for whoever looks at its folder and cannot ask its process.

The invariant: the file is there whole or not at all, and it says when it was written and by whom. That it
cannot be written ends nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from rollway.evaluation.overview import Overview, RolloutStatus, WorkerStatus
from rollway.evaluation.progress import Counts
from rollway.evaluation.summary import RunSummary
from rollway.inference.server_report import ServerReport
from rollway.whole_files import write_whole

NAME = "status.json"

WRITE_SECONDS = 10.0
"""Between two writings."""

State = Literal["running", "finished", "interrupted", "failed"]

_log = logging.getLogger(__name__)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A run at the moment ``updated``. Moments are Unix seconds."""

    schema_version: int = 1
    state: State
    reason: str = ""  # why it failed or was interrupted
    started: float  # this sitting
    updated: float
    pid: int  # of the process that wrote it
    node: str  # the machine's name
    asked: int  # rollouts in all
    done: int  # on record for good, or failed in this sitting
    before: int  # of these: on record when this sitting began
    scored: int  # in this sitting
    failed: int  # in this sitting
    failures: dict[str, int] = {}  # by kind
    mean_reward: float | None = None  # of this sitting
    in_flight: int = 0
    rollouts_per_second: float = 0.0  # lately
    tokens_per_second: float = 0.0  # sampled, lately
    seconds_left: float | None = None  # at the present speed; None: nothing is known of it
    workers_asked: int = 0  # Ray workers; 0: the run's own process is the worker
    workers: list[WorkerStatus] = []
    servers: list[ServerReport] = []
    oldest: list[RolloutStatus] = []


class StatusFile:
    """Writes a run's status every `WRITE_SECONDS` while ``source`` is set, and when it ends."""

    def __init__(self, folder: Path, *, seconds: float = WRITE_SECONDS) -> None:
        self._path = folder / NAME
        self._seconds = seconds
        self._next = 0.0  # on the monotonic clock
        self._source: Callable[[], Status] | None = None
        self._told = False

    def begin(self, source: Callable[[], Status]) -> None:
        """Write what ``source`` says, now and from now on."""
        self._source = source
        self.tick()

    def tick(self) -> None:
        """Write it if it is time to."""
        now = time.monotonic()
        if self._source is not None and now >= self._next:
            self._next = now + self._seconds
            self._write(self._source())

    def end(self, state: State, reason: str = "", summary: RunSummary | None = None) -> None:
        """Write how the run ended; with a summary, what it counted. Without a `begin`, nothing is written."""
        if self._source is None:
            return
        status = msgspec.structs.replace(
            self._source(),
            state=state,
            reason=reason,
            in_flight=0,
            workers=[],
            servers=[],
            oldest=[],
            seconds_left=None,
        )
        if summary is not None:
            status = msgspec.structs.replace(status, done=summary.finished)
        self._write(status)

    def _write(self, status: Status) -> None:
        if not self._path.parent.is_dir():
            return  # it was taken away because nothing came of the run
        try:
            write_whole(
                self._path, msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n", to_disk=False
            )
        except OSError as error:
            if not self._told:
                self._told = True
                _log.warning("cannot write %s: %s", self._path, error.strerror or error)


def status_of(counts: Counts, overview: Overview, *, workers_asked: int, started: float) -> Status:
    """A run that goes on."""
    return Status(
        state="running",
        started=started,
        updated=time.time(),
        pid=os.getpid(),
        node=os.uname().nodename,
        asked=counts.asked,
        done=counts.done,
        before=counts.before,
        scored=counts.scored,
        failed=counts.failed,
        failures=dict(counts.failures),
        mean_reward=counts.mean_reward,
        in_flight=overview.in_flight,
        rollouts_per_second=round(counts.rollouts_per_second, 3),
        tokens_per_second=round(counts.tokens_per_second, 1),
        seconds_left=counts.seconds_left,
        workers_asked=workers_asked,
        workers=overview.workers,
        servers=overview.servers,
        oldest=overview.oldest,
    )


def read_status(folder: Path) -> Status | None:
    """What a run wrote last; ``None``: it wrote none that this version can read."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
