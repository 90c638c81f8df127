"""What is done to the processes of a run while it runs, when so much of it is done.

The invariant: each happening begins once, and what it took away is given back before the next sitting.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rollway.chaos.faults import TIMES, Plan
from rollway.chaos.lots import lot
from rollway.chaos.marks import Marks
from rollway.chaos.processes import processes_of, send, workers_of
from rollway.chaos.server_process import ServerProcess

INTERRUPTED = 130
"""The exit code of a run that was told to stop."""


class Happening(NamedTuple):
    """One of the faults of `TIMES`."""

    at: float  # share of the rollouts that are on disk
    name: str  # as in `FAULTS`
    seconds: float = 0.0  # that a server is away or stands still


def planned(plan: Plan, seconds: float) -> list[Happening]:
    """The happenings of a plan, spread by lot over the run. A server is gone for ``seconds``."""
    found = []
    for group in sorted(TIMES):
        kinds = plan.kinds_of(group)
        times = round(plan.rates.get(group, 0)) if kinds else 0
        for number in range(times):
            at = (number + lot(plan.seed, group, "at", number)) / times
            found.append(Happening(0.05 + 0.85 * at, f"{group}.{kinds[number % len(kinds)]}", seconds))
    return sorted(found)


class Struck(NamedTuple):
    """A happening that began."""

    name: str
    moment: float  # on the monotonic clock


class Happenings:
    """Those of one run, over all its sittings."""

    def __init__(
        self, planned: Sequence[Happening], server: ServerProcess, run: str, *, workers: int, marks: Marks
    ) -> None:
        self.struck: list[Struck] = []
        self.replaced: list[float] = []  # seconds until a new worker was there, for each that was taken away
        self.endings: set[int] = set()  # exit codes that the present sitting may have because of us
        self._planned = list(planned)
        self._server, self._run = server, run
        self._places, self._marks = workers, marks
        self._give_back: list[tuple[float, Callable[[], None]]] = []
        self._workers: set[int] = set()  # all that were seen in the present sitting
        self._awaited: list[float] = []  # when workers were taken away that have no successor yet
        self._blocked = False  # was the environment seen to block a worker?

    def look(self, done: float, driver: subprocess.Popen[bytes]) -> None:
        """Let begin what is due when ``done`` of the run is on disk, and end what is over."""
        self.restore(time.monotonic())
        self._see_workers()
        while self._planned and self._planned[0].at <= done:
            if not self._begin(self._planned[0], driver):
                break
            self._planned.pop(0)

    def restore(self, until: float) -> None:
        """Give back what was taken away until some moment ``until`` or before."""
        due = [action for moment, action in self._give_back if moment <= until]
        self._give_back = [(moment, action) for moment, action in self._give_back if moment > until]
        for action in due:
            action()

    def settle(self) -> None:
        """Between two sittings: wait until the server is back."""
        while self._give_back:
            time.sleep(max(0.0, min(moment for moment, _ in self._give_back) - time.monotonic()))
            self.restore(time.monotonic())
        self.endings = set()
        self._workers, self._awaited = set(), []

    def _begin(self, happening: Happening, driver: subprocess.Popen[bytes]) -> bool:
        """False: there is nobody yet to whom it could be done."""
        now = time.monotonic()
        match happening.name:
            case "driver.killed":
                driver.kill()
                self.endings.add(-signal.SIGKILL)
            case "driver.interrupted" | "driver.terminated":
                interrupts = happening.name == "driver.interrupted"
                driver.send_signal(signal.SIGINT if interrupts else signal.SIGTERM)
                self.endings.add(INTERRUPTED)
            case "servers.away":
                self._server.kill()
                self._give_back.append((now + happening.seconds, self._server.start))
            case "servers.still":
                self._server.stand_still()
                self._give_back.append((now + happening.seconds, self._server.go_on))
            case "workers.killed" | "workers.stopped":
                workers = workers_of(self._run)
                if not workers:
                    return False
                stops = happening.name == "workers.stopped"
                send(workers[0], signal.SIGSTOP if stops else signal.SIGKILL)
                self._awaited.append(now)
        self.struck.append(Struck(happening.name, now))
        return True

    def _see_workers(self) -> None:
        """A worker has a successor when more of them were seen than there are places."""
        if not self._places:
            return
        if not self._blocked and self._marks.read("workers.blocked", "pid") is not None:
            self._blocked = True
            self._awaited.append(time.monotonic())
        before = len(self._workers)
        self._workers.update(workers_of(self._run))
        for number in range(before + 1, len(self._workers) + 1):
            if number > self._places and self._awaited:
                self.replaced.append(time.monotonic() - self._awaited.pop(0))


def end_all(run: str) -> None:
    """End every process of a run, stopped ones too."""
    for number in processes_of(run):
        send(number, signal.SIGKILL)
