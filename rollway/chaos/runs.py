"""One run of ``rollway eval`` under faults: as many sittings as it takes, and what can be seen of it after.

The invariant: the run is started, struck and resumed from outside alone, as its user would, and nothing
that it started outlives it here without being named.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rollway.agent_loop.rollout import turn_seed
from rollway.chaos.checks import Expected
from rollway.chaos.environment import task_name
from rollway.chaos.faults import Plan, plain
from rollway.chaos.happenings import Happening, Happenings, end_all
from rollway.chaos.marks import Marks
from rollway.chaos.processes import MARK, left_over
from rollway.chaos.reading import LineCount, RunFolder, read_run
from rollway.chaos.script import Script
from rollway.chaos.server import MODEL, LogLine, read_log
from rollway.chaos.server_process import ServerProcess
from rollway.evaluation.tasks import rollout_seed

LOOK_SECONDS = 0.1
"""Between two looks at how far a run is."""

MOST_RESUMES = 1
"""Sittings beyond those that were ended from outside; a run that needs more is given up."""

LEFT_SECONDS = 20.0
"""How long processes of a run that has ended may take to end."""


class Setup(NamedTuple):
    """What one run is: a policy, how much of it, how it is done, and what it suffers."""

    plan: Plan
    rollouts: int
    samples: int = 1
    config: Mapping[str, Any] = {}  # more fields of the run's configuration, as plain values
    happenings: Sequence[Happening] = ()
    most_seconds: float = 3600.0  # of one sitting; then it is ended, and that is a fault
    busy: int = 0  # processes that keep the machine busy meanwhile

    @property
    def tasks(self) -> int:
        """How many there are; their samples together are the rollouts."""
        return -(-self.rollouts // self.samples)


class Sitting(NamedTuple):
    """One process of the run."""

    exit_code: int | None  # None: it had to be ended after `most_seconds`
    expected: bool  # may it have ended so?
    seconds: float
    last_words: str  # the last line that it printed


class Outcome(NamedTuple):
    """What is to be seen of a run that is over."""

    folder: RunFolder
    sittings: list[Sitting]
    finished: bool  # nothing is missing, by its own summary
    log: list[LogLine]  # the server's answers
    struck: Counter[str]  # happenings and marks, by fault
    keys: dict[str, list[str]]  # whom the marks struck
    replaced: list[float]  # seconds until a worker that was taken away had a successor
    left: dict[int, str]  # processes that outlived it
    seconds: float  # of all sittings

    def begun_again(self) -> dict[tuple[str, int], int]:
        """First requests, by task and seed, that were answered more than once, and how often beyond that."""
        begun = Counter((line.task, line.seed) for line in self.log if line.kind == "ok" and line.turn == 0)
        return {request: count - 1 for request, count in begun.items() if count > 1}


def expected_of(setup: Setup) -> Expected:
    """What must be on record when the run is over."""
    plan = setup.plan
    script = Script(plan.seed, plan.failing, plan.sandboxes)
    turns, seeds, keys = {}, {}, {}
    for number in range(setup.tasks):
        task = task_name(number)
        for sample in range(setup.samples):
            seed = rollout_seed(plan.seed, task, sample)
            assert seed is not None, "the run has a seed"
            seeds[task, sample] = seed
            said = script.conversation(task, partial(turn_seed, seed))
            turns[task, sample] = said
            keys.update({(task, turn_seed(seed, turn)): (task, sample) for turn in range(len(said))})
    return Expected(turns, seeds, keys)


def do_run(setup: Setup, path: Path) -> Outcome:
    """Do the run in the folder ``path``, which is new, resuming it until nothing is missing."""
    marks = path / "marks"
    marks.mkdir(parents=True)
    mark, began = secrets.token_hex(8), time.monotonic()
    try:
        with ServerProcess(setup.plan, path / "server.log", path / "server.txt") as server:
            (path / "run.yaml").write_text(json.dumps(_config(setup, server.url, marks), indent=1))
            happenings = Happenings(
                setup.happenings, server, mark, workers=setup.config.get("workers", 1), marks=Marks(marks)
            )
            with busy_machine(setup.busy):
                sittings, finished = _sit(setup, path, happenings, mark)
            seconds = time.monotonic() - began
        left = left_over(mark, LEFT_SECONDS)
    finally:
        end_all(mark)
    keys = Marks(marks).struck()
    struck = Counter({kind: len(those) for kind, those in keys.items()})
    struck.update(one.name for one in happenings.struck)
    return Outcome(
        read_run(path / "run"),
        sittings,
        finished,
        list(read_log(path / "server.log")),
        struck,
        keys,
        happenings.replaced,
        left,
        seconds,
    )


@contextmanager
def busy_machine(processes: int) -> Iterator[None]:
    """Keep so many processors busy with nothing."""
    command = [sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: sum(range(1000000))"]
    busy = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _config(setup: Setup, url: str, marks: Path) -> dict[str, Any]:
    config: dict[str, Any] = {
        "environment": "rollway.chaos.environment:ChaosEnvironment",
        "environment_args": {"plan": plain(setup.plan), "tasks": setup.tasks, "folder": str(marks.resolve())},
        "samples": setup.samples,
        "seed": setup.plan.seed,
        "model": {"base_url": url, "name": MODEL},
        "limits": {"tool_timeout": setup.plan.tool_timeout},
    }
    if setup.plan.hangs:
        config["limits"]["hook_timeout"] = setup.plan.hook_timeout
    for name, value in setup.config.items():
        config[name] = config.get(name, {}) | value if isinstance(value, dict) else value
    return config


def _sit(setup: Setup, path: Path, happenings: Happenings, mark: str) -> tuple[list[Sitting], bool]:
    sittings: list[Sitting] = []
    resumes = 0
    while resumes <= MOST_RESUMES:
        sitting = _one_sitting(setup, path, happenings, mark)
        sittings.append(sitting)
        happenings.settle()
        if sitting.exit_code is None or not sitting.expected:
            return sittings, False
        summary = read_summary(path / "run")
        if sitting.exit_code == 0 and not summary.get("failed", 1) and not summary.get("missing", 1):
            return sittings, True
        resumes += sitting.exit_code in (0, 1)
    return sittings, False


def read_summary(path: Path) -> dict[str, Any]:
    """The run's own; empty where there is none."""
    file = path / "summary.json"
    summary: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return summary


def _one_sitting(setup: Setup, path: Path, happenings: Happenings, mark: str) -> Sitting:
    command = [sys.executable, "-m", "rollway.cli", "eval", "run.yaml", "--out", "run"]
    # Ray writes the command over the variables of its processes, by which we know them, unless told not to.
    variables = os.environ | {MARK: mark, "SPT_NOENV": "1"}
    output, began = path / "output.txt", time.monotonic()
    count = LineCount(path / "run")
    with output.open("ab") as file:
        driver = subprocess.Popen(
            command,
            cwd=path,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            while driver.poll() is None and time.monotonic() - began < setup.most_seconds:
                happenings.look(count() / (setup.tasks * setup.samples), driver)
                try:
                    driver.wait(LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    pass
            code = driver.poll()
        finally:
            if driver.poll() is None:
                driver.kill()
                driver.wait()
    words = output.read_text(errors="replace").strip().rpartition("\n")[2]
    # It may have been done before the signal came.
    return Sitting(code, code in {0, 1} | happenings.endings, time.monotonic() - began, words)
