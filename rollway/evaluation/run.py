"""One run from its configuration to its summary: what ``rollway eval`` and ``rollway rollout`` do.

Every mistake in the request is reported in one line before the first rollout. From then on every finished
rollout is on disk, and the run ends with its summary, whatever happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import msgspec
from rich.console import Console

from rollway.environments.loading import environment_source
from rollway.errors import UserError
from rollway.evaluation.backends import Backend, LocalBackend
from rollway.evaluation.clients import check_server, dropped_tools
from rollway.evaluation.conclusion import conclude, seconds_before
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.formats import choose_formats
from rollway.evaluation.model_server import starting_server
from rollway.evaluation.plan import Plan, named_model, prepare
from rollway.evaluation.ray_backend import RayBackend, connected
from rollway.evaluation.run_approval import approval_source
from rollway.evaluation.run_directory import RunDirectory, discard_empty, holds_run, open_run
from rollway.evaluation.run_log import logging_to
from rollway.evaluation.sitting import Ending, drive
from rollway.evaluation.summary import RunSummary
from rollway.evaluation.tracking import Tracker, start_tracking
from rollway.evaluation.worker import WorkerSpec
from rollway.event_loop import new_event_loop

_log = logging.getLogger(__name__)


def evaluate(config: EvalConfig, *, console: Console | None = None) -> RunSummary:
    """Start a run, or resume the one in ``config.out``, and return its summary.

    ``console`` shows progress and the summary; without it nothing is printed.

    Raises:
        UserError: the run cannot start; one line says why and how to fix it.
        RunFailed: it stopped early, no rollout was scored, or more than ``max_failed`` have no score.
        RunInterrupted: Ctrl-C or SIGTERM.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(evaluate_async(config, console=console))


async def evaluate_async(config: EvalConfig, *, console: Console | None = None) -> RunSummary:
    """`evaluate` on a running event loop."""
    console = console or Console(quiet=True)
    plan = prepare(config)
    async with AsyncExitStack() as held:
        run = held.enter_context(_opened(plan)) if holds_run(plan.path) else None
        ending = Ending(seconds=seconds_before(plan.path))
        tracker: Tracker | None = None
        is_new = run is None
        if run is not None and len(run.done) == plan.asked:
            run.clear_away()
        else:
            async with _reached(plan) as (config, backend, choices, warnings):
                if run is None:
                    plan = msgspec.structs.replace(plan, config=named_model(plan.config, config.model.name))
                    run = held.enter_context(_opened(plan))
                for line in choices:
                    _log.info(line)
                for line in warnings:
                    console.print(line, highlight=False, markup=False, soft_wrap=True)
                    _log.warning(line)
                tracker = held.enter_context(_tracked(plan))
                try:
                    ending = await drive(plan, run, backend, console, tracker, ending.seconds)
                except UserError:  # the workers could not begin: the folder is free for what is asked next
                    if is_new:
                        discard_empty(plan.path)
                    raise
        return conclude(plan, run, ending, console, tracker)


@contextmanager
def _opened(plan: Plan) -> Iterator[RunDirectory]:
    """The run directory, its log attached and its records counted."""
    with open_run(plan.path, plan.config) as run, logging_to(plan.path / "log.txt"):
        # The same data has the same ids, and a million of them are not worth holding for that.
        ids = plan.tasks.given_ids() if plan.config.data is None else None
        run.take_stock(
            lambda key: (ids is None or key[0] in ids) and 0 <= key[1] < plan.config.samples, ids or ()
        )
        _log.info("%d of %d rollouts are on disk", len(run.done), plan.asked)
        yield run


@asynccontextmanager
async def _reached(plan: Plan) -> AsyncIterator[tuple[EvalConfig, Backend, list[str], list[str]]]:
    """The model's server (started here if it is the embedded one), workers that use it, what was chosen for
    it, and what is wrong with it."""
    config, policy = plan.config, plan.config.model.policy
    if policy is None:
        config = msgspec.structs.replace(config, model=await check_server(config, plan.api_key))
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
        spec = WorkerSpec(
            config.as_dict(),
            plan.api_key,
            environment_source(config.environment),
            approval_source(config),
            None if plan.lists is None else plan.lists.shared,
        )
        backend = RayBackend(spec, config) if config.workers else LocalBackend(spec)
        yield config, backend, choices, [dropped] if dropped else []


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
