"""The part of a run in which rollouts run, from the first job to the last outcome.

The driver's outcomes meet the run directory, the display and the tracker here, and nowhere else.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from rollway.environments.base import Task
from rollway.errors import UserError
from rollway.evaluation.backends import Backend, LocalWorker, WorkerHandle
from rollway.evaluation.calls_file import CallsWriter
from rollway.evaluation.captured import Keep, captured, tell
from rollway.evaluation.collector import collecting_rarely
from rollway.evaluation.driver import DEFAULT_TIMINGS, Driver, DriverStopped
from rollway.evaluation.driver_timings import DriverTimings
from rollway.evaluation.held_outcomes import HeldOutcomes
from rollway.evaluation.identity import RunIdentity
from rollway.evaluation.interrupts import INTERRUPTED, interrupts_call
from rollway.evaluation.outcomes import Outcome, begun_record, outcome_of
from rollway.evaluation.overview import Said, WorkerStatus, overview_of
from rollway.evaluation.plan import Plan
from rollway.evaluation.progress import Counts
from rollway.evaluation.quiet import QuietTimes
from rollway.evaluation.rescoring import Rescoring
from rollway.evaluation.rollout import record_fault
from rollway.evaluation.run_directory import AttemptRecord, AttemptsWriter, RunDirectory
from rollway.evaluation.status import StatusFile
from rollway.evaluation.tasks import Job
from rollway.evaluation.tracking import Tracker
from rollway.evaluation.watching import Watching
from rollway.tools.replay import RecordingWriter
from rollway.trajectory import StopReason

AT_ONCE = f"a second interrupt, exit {INTERRUPTED} at once; what had ended is on disk"

NO_BOUNDARY = "the local sandbox is not a security boundary: commands of the model have all your permissions"

NO_REWARDS = "the environment has no rewards: its rollouts are not scored (define rewards = [...])"

STARTS_SERVERS = (
    "the recorded run did not store its MCP servers' tools: the servers are started to list tools, but no "
    "tool is called"
)

DEFAULT_QUIET = QuietTimes()

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
    identity: RunIdentity,
    backend: Backend,
    console: Console,
    tracker: Tracker | None,
    status: StatusFile,
    quiet: QuietTimes = DEFAULT_QUIET,
    timings: DriverTimings = DEFAULT_TIMINGS,
) -> Ending:
    """Do what is missing.

    ``status`` is written from the first rollout on; whoever made it says how the run ended.

    Raises:
        UserError: the workers could not begin, and nothing is on record; or what is to be done again
            cannot be set aside.
    """
    run.clear_away()
    identity.begin()
    (plan.path / "summary.json").unlink(missing_ok=True)  # it is out of date
    config = plan.config
    counts = Counts(plan.asked, len(run.done))
    shelf = RecordingWriter(plan.path) if config.tools.record else None
    attempts, held = AttemptsWriter(plan.path), HeldOutcomes(plan.path)
    calls = CallsWriter(plan.path)

    def keep(job: Job, outcome: Outcome) -> None:
        _keep(run, shelf, calls, counts, job, outcome, driver.interrupted)

    driver = Driver(
        plan.tasks.jobs(
            config,
            run.done,
            plan.recorded,
            unscored=Rescoring(run, plan.environment),
            saw=functools.partial(_saw_task, identity, plan.path),
            lost=lambda job, why: keep(job, _given_up(plan, job, why, where="environment")),
        ),
        backend,
        places=max(1, config.workers),
        concurrency=config.concurrency,
        keep=keep,
        give_up=lambda job, why, worker: _given_up(plan, job, why, where="worker", worker=worker),
        stop_after_failures=config.stop_after_failures,
        attempts=config.attempts,
        tried=functools.partial(_note_try, attempts, shelf, calls, config.attempts),
        hold=functools.partial(_hold, held, plan.path),
        timings=timings,
    )
    _announce(plan, len(run.done), console)
    watching = Watching(
        console,
        counts,
        lambda: overview_of(driver.in_flight, (_said(worker) for worker in driver.workers)),
        status,
        tracker,
        workers_asked=config.workers,
        quiet=quiet,
        free_cpus=getattr(backend, "free_cpus", None),
    )
    problem: str | None = None
    with (
        collecting_rarely(),
        watching,
        captured(_to_log(), shown=True),
        interrupts_call(lambda: _interrupt(driver, console), lambda: watching.leave(AT_ONCE)),
    ):
        try:
            await driver.run()
        except DriverStopped as stopped:
            problem = str(stopped)
        except UserError as error:  # what is on record is summed up all the same
            if not run.done:
                raise
            problem = str(error)
        finally:
            took = driver.seconds
            attempts.close()
            held.close()
            unsaved = _close(shelf, plan.path) or _close(calls, plan.path) or _end(identity, took, plan.path)
    seconds = None if identity.seconds is None else identity.seconds + took
    return Ending(seconds, driver.interrupted, problem or unsaved, counts.last_error)


def _said(worker: WorkerHandle) -> Said:
    """What a worker says of itself, if it says anything."""
    said: Callable[[], Said] | None = getattr(worker, "said", None)
    return Said(WorkerStatus(name=worker.name)) if said is None else said()


def _to_log() -> Keep:
    """What is printed in this process, for the log."""
    name = LocalWorker.name
    return lambda level, logger, message: tell(level, logger, f"({name}) {message}")


def _announce(plan: Plan, on_record: int, console: Console) -> None:
    """Tell what is going to be done, and what is to be known of it."""
    done = f", {on_record} already on disk" if on_record else ""
    console.print(f"{plan.told}{done}: {plan.path}", highlight=False, soft_wrap=True)
    for warning in _warnings(plan):
        console.print(warning, highlight=False, soft_wrap=True)
        _log.warning(warning)


def _warnings(plan: Plan) -> list[str]:
    local = plan.sandbox is not None and plan.sandbox.backend == "local"
    unscored = not plan.environment.rewards
    kept = [] if plan.kept is None else [plan.kept]
    return (
        kept
        + [NO_REWARDS] * unscored
        + [NO_BOUNDARY] * local
        + [STARTS_SERVERS] * plan.starts_servers_to_replay
    )


def _keep(
    run: RunDirectory,
    shelf: RecordingWriter | None,
    calls: CallsWriter,
    counts: Counts,
    job: Job,
    outcome: Outcome,
    interrupted: bool,
) -> None:
    try:
        if shelf is not None or outcome.exchanges:  # which go into files that do not look
            run.refuse_gone()
        if shelf is not None and outcome.recorded is not None:  # of a cancelled one too: no other brings them
            shelf.keep_tool_lists(outcome.recorded.tool_lists)
        calls.append(job.key, outcome.exchanges)
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


def _saw_task(identity: RunIdentity, path: Path, task_id: str, task: Task) -> None:
    try:
        identity.saw_task(task_id, task)
    except OSError as error:
        raise DriverStopped(_cannot_write(path, error)) from error


def _end(identity: RunIdentity, seconds: float, path: Path) -> str | None:
    """What is wrong with the end of the sitting."""
    try:
        identity.end(seconds)
    except OSError as error:
        return _cannot_write(path, error)
    return None


def _close(shelf: RecordingWriter | CallsWriter | None, path: Path) -> str | None:
    """What is wrong with the end of recordings."""
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
    calls: CallsWriter,
    most: int,
    tried: AttemptRecord,
    outcome: Outcome | None,
) -> None:
    """Put a failed try on record. Its line comes to nothing if the next one does better."""
    try:
        attempts.append(tried)
        if shelf is not None and outcome is not None and outcome.recorded is not None and tried.again:
            shelf.keep_tool_lists(outcome.recorded.tool_lists)  # no other outcome brings them
        if outcome is not None and tried.again:
            calls.append((tried.task_id, tried.sample_index), outcome.exchanges)
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
