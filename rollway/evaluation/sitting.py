"""The part of a run in which rollouts run, from the first job to the last outcome.

The driver's outcomes meet the run directory, the display and the tracker here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from rollway.errors import UserError
from rollway.evaluation.backends import Backend, WorkerHandle
from rollway.evaluation.collector import collecting_rarely
from rollway.evaluation.driver import DEFAULT_TIMINGS, Driver, DriverStopped
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.held_outcomes import HeldOutcomes
from rollway.evaluation.interrupts import interrupts_call
from rollway.evaluation.outcomes import Outcome, begun_record, outcome_of
from rollway.evaluation.plan import Plan
from rollway.evaluation.progress import Counts, ProgressDisplay
from rollway.evaluation.rollout import record_fault
from rollway.evaluation.run_directory import AttemptRecord, AttemptsWriter, RunDirectory
from rollway.evaluation.tasks import Job
from rollway.evaluation.tracking import Tracker
from rollway.tools.replay import RecordingWriter
from rollway.trajectory import StopReason

TICK_SECONDS = 0.25
"""Between two looks at the progress."""

TRACK_SECONDS = 10.0
"""Between two notes to the run's tracker."""

NO_BOUNDARY = "the local sandbox is not a security boundary: commands of the model have all your permissions"

STARTS_SERVERS = (
    "the recorded run did not store its MCP servers' tools: the servers are started to list tools, but no "
    "tool is called"
)

_log = logging.getLogger(__name__)


class Ending(msgspec.Struct, frozen=True):
    """How the rollouts of a run came to an end."""

    seconds: float | None  # of all sittings together; None when not known
    interrupted: bool = False
    problem: str | None = None  # why it was given up
    last_error: str = ""  # "kind: message" of the rollout that failed last


async def drive(
    plan: Plan,
    run: RunDirectory,
    backend: Backend,
    console: Console,
    tracker: Tracker | None,
    seconds_before: float | None,
    timings: DriverTimings = DEFAULT_TIMINGS,
) -> Ending:
    """Do what is missing.

    Raises:
        UserError: the workers could not begin, and nothing is on record; or what is to be done again
            cannot be set aside.
    """
    run.clear_away()
    (plan.path / "summary.json").unlink(missing_ok=True)  # it is out of date
    config = plan.config
    counts = Counts(plan.asked, len(run.done))
    shelf = RecordingWriter(plan.path) if config.tools.record else None
    attempts, held = AttemptsWriter(plan.path), HeldOutcomes(plan.path)

    def keep(job: Job, outcome: Outcome) -> None:
        _keep(run, shelf, counts, job, outcome, driver.interrupted)

    driver = Driver(
        plan.tasks.jobs(
            config,
            run.done,
            plan.recorded,
            lost=lambda job, why: keep(job, _given_up(plan, job, why, where="environment")),
        ),
        backend,
        places=max(1, config.workers),
        concurrency=config.concurrency,
        keep=keep,
        give_up=lambda job, why, worker: _given_up(plan, job, why, where="worker", worker=worker),
        stop_after_failures=config.stop_after_failures,
        attempts=config.attempts,
        tried=functools.partial(_note_try, attempts, shelf, config.attempts),
        hold=functools.partial(_hold, held, plan.path),
        timings=timings,
    )
    _announce(plan, len(run.done), console)
    display = ProgressDisplay(console, counts, lambda: driver.in_flight)
    problem: str | None = None
    with (
        collecting_rarely(),
        display,
        interrupts_call(lambda: _interrupt(driver, console), display.close),
    ):
        ticker = asyncio.create_task(_tick(display, counts, tracker))
        try:
            await driver.run()
        except DriverStopped as stopped:
            problem = str(stopped)
        except UserError as error:  # what is on record is summed up all the same
            if not run.done:
                raise
            problem = str(error)
        finally:
            ticker.cancel()
            attempts.close()
            held.close()
            unsaved = _close(shelf, plan.path)
    seconds = None if seconds_before is None else seconds_before + driver.seconds
    return Ending(seconds, driver.interrupted, problem or unsaved, counts.last_error)


def _announce(plan: Plan, on_record: int, console: Console) -> None:
    """Tell what is going to be done, and what is to be known of it."""
    done = f", {on_record} already on disk" if on_record else ""
    console.print(f"{plan.told}{done}: {plan.path}", highlight=False, soft_wrap=True)
    for warning in _warnings(plan):
        console.print(warning, highlight=False, soft_wrap=True)
        _log.warning(warning)


def _warnings(plan: Plan) -> list[str]:
    local = plan.sandbox is not None and plan.sandbox.backend == "local"
    return [NO_BOUNDARY] * local + [STARTS_SERVERS] * plan.starts_servers_to_replay


def _keep(
    run: RunDirectory,
    shelf: RecordingWriter | None,
    counts: Counts,
    job: Job,
    outcome: Outcome,
    interrupted: bool,
) -> None:
    try:
        if shelf is not None and outcome.recorded is not None:  # of a cancelled one too: no other brings them
            shelf.keep_tool_lists(outcome.recorded.tool_lists)
        if interrupted and outcome.stop_reason is StopReason.CANCELLED:
            run.set_aside(outcome.line)
            return
        if shelf is not None and outcome.recorded is not None:  # first, so that no rollout lacks its record
            shelf.append(job.key, outcome.recorded.line, outcome.recorded.sandbox)
        run.append(job.key, outcome.line)
    except OSError as error:
        raise DriverStopped(_cannot_write(run.path, error)) from error
    counts.add(outcome)
    if outcome.failed:
        _log.warning("rollout %s failed (%s): %s", job.key, outcome.stop_reason, outcome.error)


def _close(shelf: RecordingWriter | None, path: Path) -> str | None:
    """What is wrong with the end of the recordings."""
    try:
        if shelf is not None:
            shelf.close()
    except OSError as error:
        return _cannot_write(path, error)
    return None


def _cannot_write(path: Path, error: OSError) -> str:
    return f"cannot write to {path}: {error.strerror or error}"


def _note_try(
    attempts: AttemptsWriter,
    shelf: RecordingWriter | None,
    most: int,
    tried: AttemptRecord,
    outcome: Outcome | None,
) -> None:
    """Put a failed try on record. Its line comes to nothing if the next one does better."""
    try:
        attempts.append(tried)
        if shelf is not None and outcome is not None and outcome.recorded is not None and tried.again:
            shelf.keep_tool_lists(outcome.recorded.tool_lists)  # no other outcome brings them
    except OSError as error:
        raise DriverStopped(_cannot_write(attempts.path.parent, error)) from error
    if tried.again:
        key = (tried.task_id, tried.sample_index)
        told = "try %d of rollout %s failed on %s after %.1f s (%s, of %d at most): %s; it is tried again"
        _log.warning(told, tried.number, key, tried.worker, tried.seconds, tried.fault, most, tried.message)


def _hold(held: HeldOutcomes, path: Path, outcome: Outcome) -> Callable[[], Outcome]:
    try:
        return held.hold(outcome)
    except OSError as error:
        raise DriverStopped(_cannot_write(path, error)) from error


def _given_up(
    plan: Plan, job: Job, why: BaseException, *, where: str, worker: WorkerHandle | None = None
) -> Outcome:
    """The outcome of a job that cannot be done."""
    place = {} if worker is None else {"worker": worker.name, "node": worker.node}
    begun = functools.partial(begun_record, plan.environment, job, plan.config, **place)
    record = begun()
    record_fault(record, why, where=where)
    return outcome_of(record, job.key, begun)


def _interrupt(driver: Driver, console: Console) -> None:
    console.print(
        f"stopping: {driver.in_flight} rollouts in flight are cancelled; press Ctrl-C again to exit now"
    )
    _log.warning("interrupted; %d rollouts in flight are cancelled", driver.in_flight)
    driver.interrupt()


async def _tick(display: ProgressDisplay, counts: Counts, tracker: Tracker | None) -> None:
    next_note = time.monotonic() + TRACK_SECONDS
    while True:
        display.tick()
        if tracker is not None and time.monotonic() >= next_note:
            next_note = time.monotonic() + TRACK_SECONDS
            tracker.log(counts.numbers())
        await asyncio.sleep(TICK_SECONDS)
