"""One run from its configuration to its summary: what ``rollway eval`` and ``rollway rollout`` do.

Every mistake in the request is reported in one line before the first rollout. From then on every finished
rollout is on disk, and the run ends with its summary, whatever happened.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager

import msgspec
from rich.console import Console

from rollway.environments.base import named_rewards
from rollway.environments.loading import environment_source
from rollway.errors import UserError
from rollway.evaluation.backends import Backend, LocalBackend
from rollway.evaluation.clients import check_server, dropped_tools
from rollway.evaluation.conclusion import conclude
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.formats import choose_formats
from rollway.evaluation.identity import RunIdentity
from rollway.evaluation.model_server import starting_server
from rollway.evaluation.plan import Plan, named_model, prepare
from rollway.evaluation.ray_backend import RayBackend, connected
from rollway.evaluation.rescoring import looks_into_sandbox
from rollway.evaluation.run_approval import approval_source
from rollway.evaluation.run_directory import RunDirectory, Wanted, claim_path, discard_empty, open_run
from rollway.evaluation.run_log import logging_to
from rollway.evaluation.sitting import Ending, drive
from rollway.evaluation.slow_steps import told_if_slow
from rollway.evaluation.start_and_end import Result, start_and_end_logged
from rollway.evaluation.summary import RunSummary
from rollway.evaluation.tracking import Tracker, start_tracking
from rollway.evaluation.worker import WorkerSpec
from rollway.event_loop import new_event_loop

_log = logging.getLogger(__name__)


def evaluate(
    config: EvalConfig, *, console: Console | None = None, allow: Collection[str] = ()
) -> RunSummary:
    """Start a run, or resume the one in ``config.out``, and return its summary.

    ``console`` shows progress and the summary; without it nothing is printed. ``allow`` names what may differ
    from what a resumed run began with: "changed-tasks", "changed-environment", "other-weights". The summary
    says so.

    Raises:
        UserError: the run cannot start; one line says why and how to fix it. So does a call where an event
            loop runs already, as in a notebook.
        RunFailed: it stopped early, no rollout was scored, or more than ``max_failed`` have no score.
        RunInterrupted: Ctrl-C or SIGTERM.
    """
    if _in_event_loop():
        raise UserError(
            "an event loop is running here, as in a notebook: write 'await evaluate_async(config)', not "
            "'evaluate(config)'"
        )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(evaluate_async(config, console=console, allow=allow))


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def evaluate_async(
    config: EvalConfig, *, console: Console | None = None, allow: Collection[str] = ()
) -> RunSummary:
    """`evaluate` on a running event loop."""
    console = console or Console(quiet=True)
    with told_if_slow(console, f"reading {config.environment} and its tasks"):
        plan = prepare(config)
    async with AsyncExitStack() as held:
        opened = held.enter_context(_opened(plan)) if plan.resumes else None
        ending = Ending(seconds=0.0)
        tracker: Tracker | None = None
        run, result = opened or (None, None)
        is_new = run is None
        identity = None if run is None else _identity(held, plan, run, allow)
        if run is not None and result is not None and identity is not None and len(run.done) == plan.asked:
            ending = Ending(seconds=identity.seconds)
            run.clear_away()
            identity.note_allowed()
        else:
            if identity is not None:
                identity.check()
            reaching = _not_reached(plan, console) if _only_scores(plan, run) else _reached(plan, console)
            async with reaching as (config, backend, choices, warnings):
                if run is None or result is None or identity is None:
                    plan = _claimed(plan, config)
                    run, result = held.enter_context(_opened(plan))
                    identity = _identity(held, plan, run, allow)
                if not _only_scores(plan, run):
                    await identity.check_served(config)
                for line in choices:
                    _log.info(line)
                for line in [*warnings, *identity.warnings]:
                    console.print(line, highlight=False, markup=False, soft_wrap=True)
                    _log.warning(line)
                tracker = held.enter_context(_tracked(plan))
                try:
                    ending = await drive(plan, run, identity, backend, console, tracker, result.status)
                except UserError:  # the workers could not begin: the folder is free for what is asked next
                    if is_new:
                        discard_empty(plan.path)
                    raise
        result.summary = conclude(plan, run, ending, console, tracker)
        return result.summary


def _claimed(plan: Plan, config: EvalConfig) -> Plan:
    """The plan of a new run, with the model's name and a folder of its own."""
    path = plan.path if plan.config.out is not None else claim_path(plan.path)
    return msgspec.structs.replace(plan, path=path, config=named_model(plan.config, config.model.name))


def _identity(held: AsyncExitStack, plan: Plan, run: RunDirectory, allow: Collection[str]) -> RunIdentity:
    """What the run is of; nothing on record has been lost."""
    identity = RunIdentity(plan, run, allow)
    held.callback(identity.close)
    identity.check_lost()
    return identity


@contextmanager
def _opened(plan: Plan) -> Iterator[tuple[RunDirectory, Result]]:
    """The run directory, its log attached and its records counted, and what its log is told at the end."""
    with (
        open_run(plan.path, plan.config) as run,
        logging_to(plan.path / "log.txt"),
        start_and_end_logged(plan.config, plan.path) as result,
    ):
        # The same data has the same ids, and a million of them are not worth holding for that.
        ids = plan.tasks.given_ids() if plan.config.data is None else None
        run.take_stock(
            Wanted(
                lambda key: (ids is None or key[0] in ids) and 0 <= key[1] < plan.config.samples,
                ids or (),
                scores=bool(named_rewards(plan.environment)),
            )
        )
        _log.info("%d of %d rollouts are on disk", len(run.done), plan.asked)
        yield run, result


@asynccontextmanager
async def _reached(
    plan: Plan, console: Console
) -> AsyncIterator[tuple[EvalConfig, Backend, list[str], list[str]]]:
    """The model's server (started here if it is the embedded one), workers that use it, what was chosen for
    it, and what is wrong with it."""
    config, policy = plan.config, plan.config.model.policy
    if policy is None:
        with told_if_slow(console, f"asking {config.model.base_url} what it serves"):
            model = await check_server(config, plan.api_key, tell=_teller(console), hint=_HINT)
        config = msgspec.structs.replace(config, model=model)
    if slow := _slow_starts(config):
        console.print(f"starting {slow}", highlight=False, markup=False, soft_wrap=True)
    async with AsyncExitStack() as stack:
        # Our own server gets ready while Ray starts: both take seconds.
        starting = await stack.enter_async_context(starting_server(config.model)) if policy else None
        if config.workers:
            stack.enter_context(connected(config))
        if starting is not None:
            model = msgspec.structs.replace(config.model, base_url=await starting)
            config = msgspec.structs.replace(config, model=model)
            config = msgspec.structs.replace(config, model=await check_server(config, plan.api_key))
        config, choices = choose_formats(config, policy)
        dropped = await dropped_tools(config, plan.api_key) if plan.has_tools else None
        yield config, _backend(stack, plan, config, console), choices, [dropped] if dropped else []


def _only_scores(plan: Plan, run: RunDirectory | None) -> bool:
    """Is nothing missing but scores, which nobody has to be sampled for?"""
    if run is None or looks_into_sandbox(plan.environment):  # a sandbox that is gone has to be made again
        return False
    return len(run.done) + run.unscored_count == plan.asked


@asynccontextmanager
async def _not_reached(
    plan: Plan, console: Console
) -> AsyncIterator[tuple[EvalConfig, Backend, list[str], list[str]]]:
    """As `_reached`, without a server: for workers that only score."""
    config = plan.config
    with ExitStack() as stack:
        if config.workers:
            stack.enter_context(connected(config))
        yield config, _backend(stack, plan, config, console), [], []


def _backend(held: ExitStack | AsyncExitStack, plan: Plan, config: EvalConfig, console: Console) -> Backend:
    spec = WorkerSpec(
        config.as_dict(),
        plan.api_key,
        environment_source(config.environment),
        approval_source(config),
        None if plan.lists is None else plan.lists.shared,
    )
    if config.workers:
        return held.enter_context(closing(RayBackend(spec, config)))
    backend = LocalBackend(spec)
    backend.tell = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    return backend


def _slow_starts(config: EvalConfig) -> str:
    """What takes seconds before the first rollout."""
    policy, workers, address = config.model.policy, config.workers, config.ray.address
    slow = [] if policy is None else [f"the embedded policy {policy!r}"]
    if workers:
        where = "Ray" if address is None else f"Ray at {address}"
        slow.append(f"{workers} worker{'s' * (workers > 1)} on {where}")
    return " and ".join(slow)


_HINT = "; to wait for a server that is still starting, add --wait-for-server"


def _teller(console: Console) -> Callable[[str], None]:
    """What shows a line of the start, and keeps it in the log."""

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        _log.info(line)

    return tell


@contextmanager
def _tracked(plan: Plan) -> Iterator[Tracker | None]:
    wandb = plan.config.wandb
    if not wandb.enabled:
        yield None
        return
    tracker = start_tracking(
        plan.path,
        project=wandb.project,
        config=plan.config.as_dict(),
        name=wandb.name,
        entity=wandb.entity,
        mode=wandb.mode,
    )
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
