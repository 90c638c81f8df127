"""One worker: an environment, a client and a tool pool, with many rollouts in flight on one event loop.

The same code runs in the driver's process and in a Ray actor. `run` never raises for a fault inside a
rollout: whatever happens comes back as a line to be stored.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

import msgspec

from rollway.clock import RolloutClock
from rollway.environments.base import Environment
from rollway.environments.calling import Hooks, hook_threads
from rollway.environments.loading import load_environment
from rollway.evaluation.clients import open_client, open_decode
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.loop_beat import LoopBeat
from rollway.evaluation.outcomes import Outcome, begun_record, outcome_of
from rollway.evaluation.reports import (
    TROUBLE,
    InFlight,
    WorkerPlace,
    WorkerReport,
    oldest_first,
    rollout_on_stack,
    stacks_of,
    this_place,
)
from rollway.evaluation.rollout import record_fault, run_rollout, score_again
from rollway.evaluation.run_sandboxes import RunSandboxes
from rollway.evaluation.run_tools import RunTools
from rollway.evaluation.tapes import RecordingTape, ReplayTape, Tape
from rollway.evaluation.tasks import Job, Unscored
from rollway.inference.exchanges import ExchangeLog
from rollway.inference.protocol import Client
from rollway.inference.server_report import ServerReport
from rollway.keys import Key
from rollway.rounds import Turnstile
from rollway.tools import ToolPool
from rollway.tools.replay import decode_recording
from rollway.trajectory import StopReason, Trajectory, decode_trajectory

CLOSE_SECONDS = 5.0
"""How long a worker that is closed waits for its cancelled rollouts to tear down."""

LAG_TOLD = 2.0
"""Seconds for which the event loop has not answered before its stacks are looked at."""

LOCAL = "this process"
"""The name of a worker in the driver's own process."""


class WorkerSpec(msgspec.Struct, frozen=True):
    """All that a worker needs, on whichever machine it is."""

    config: dict[str, Any]  # an EvalConfig as plain values, model.base_url and model.name filled in
    api_key: str | None = None
    environment_source: str | None = None  # the text of the environment's file, where it is one
    approval_source: str | None = None  # the text of the approval function's file
    tool_lists: dict[str, bytes] | None = None
    """What the MCP servers of a replay listed, by digest, but for lists that come with a job; None: they are
    started."""


class RolloutWorker:
    """Runs jobs. Open it inside the event loop that it is to run on, close it when done."""

    def __init__(self, spec: WorkerSpec, place: WorkerPlace | None = None) -> None:
        self.place = place if place is not None else this_place(LOCAL)
        self._in_flight: dict[Key, InFlight] = {}
        self._config = msgspec.convert(spec.config, EvalConfig)
        self._api_key = spec.api_key
        self._decode = open_decode(self._config.model)
        self._environment: Environment = load_environment(
            self._config.environment, self._config.environment_args, source=spec.environment_source
        )
        self._running: dict[asyncio.Task[Trajectory], RolloutClock] = {}
        self._stopped = False
        self._turnstile = Turnstile()
        self._client: Client | None = None
        self._pool: ToolPool | None = None
        self._hook_pool: ToolPool | None = None
        self._sandboxes: RunSandboxes | None = None
        self._approval_source = spec.approval_source
        self._tool_lists = spec.tool_lists
        self._told_lists: set[str] = set()  # digests of what went out with an outcome
        self._tools: RunTools | None = None

    async def open(self) -> None:
        """Make the client, the pool, the source of sandboxes, and what the run adds to the tools. Without a
        server there is no client: the worker then only scores.

        Raises:
            UserError: as `RunTools.open`.
        """
        self._tools = await RunTools.open(
            self._config, self._environment, self._approval_source, self._tool_lists
        )
        if self._config.model.base_url is not None or self._config.model.backend == "openai":
            self._client = open_client(self._config, self._api_key)
        self._pool = ToolPool(self._config.pool_size)
        self._hook_pool = hook_threads(self._config.pool_size)
        hooks = Hooks(self._hook_pool, timeout=self._config.limits.hook_seconds)
        self._sandboxes = RunSandboxes(self._config.sandbox, hooks)

    async def run(self, job: Job) -> Outcome:
        """Do one job. A rollout that `stop` cancelled comes back as far as it went."""
        await self._turnstile.passed()  # a run begins with thousands of them
        begun = functools.partial(
            begun_record,
            self._environment,
            job,
            self._config,
            worker=self.place.name,
            node=self.place.node,
        )
        clock = RolloutClock(f"{job.task_id}/{job.sample_index}")
        tape = None
        exchanges = ExchangeLog() if self._config.record_calls else None
        if job.unscored is None:
            record = begun()
            tape = self._tape(job)
            rollout = asyncio.create_task(self._rollout(job, record, tape, clock, exchanges))
        else:
            record = decode_trajectory(job.unscored.line)
            rollout = asyncio.create_task(self._scoring(job, record, job.unscored, clock))
        self._in_flight[job.key] = InFlight(job.task_id, job.sample_index, record.id, clock)
        self._running[rollout] = clock
        if self._stopped:
            rollout.cancel()
        try:
            await asyncio.wait([rollout])
        finally:
            del self._running[rollout]
            del self._in_flight[job.key]
            rollout.cancel()
        if not rollout.cancelled() and (error := rollout.exception()) is not None:
            record_fault(record, error, where="engine")
        elif rollout.cancelled():
            record.stop_reason = StopReason.CANCELLED
        outcome = outcome_of(record, job.key, begun)
        if job.unscored is not None:
            return msgspec.structs.replace(outcome, completion_tokens=0)  # they were sampled before
        if isinstance(tape, RecordingTape):
            recorded = tape.recorded(job.key, record.id, self._told_lists)
            outcome = msgspec.structs.replace(outcome, recorded=recorded)
        if exchanges is not None:
            outcome = msgspec.structs.replace(outcome, exchanges=exchanges.lines)
        return outcome

    def report(self, beat: LoopBeat | None = None) -> WorkerReport:
        """How it is, asked from any thread. ``beat`` watches the event loop that the worker runs on."""
        now = time.monotonic()
        rollouts = list(self._in_flight.values())
        lag = 0.0 if beat is None else beat.lag
        thread = None if beat is None or lag < LAG_TOLD else beat.thread
        blocking = None if thread is None else rollout_on_stack(thread)
        return WorkerReport(
            place=self.place,
            in_flight=len(rollouts),
            oldest=oldest_first(rollouts, now),
            troubled=sum(not TROUBLE.isdisjoint(each.clock.waits_now) for each in rollouts),
            servers=self.servers(),
            lag=lag,
            blocker=next(
                (each.report(now) for each in rollouts if blocking in (each.record_id, each.clock.name)), None
            ),
            stacks="" if thread is None else stacks_of(thread),
        )

    async def _rollout(
        self,
        job: Job,
        record: Trajectory,
        tape: Tape | None,
        clock: RolloutClock,
        exchanges: ExchangeLog | None,
    ) -> Trajectory:
        assert self._client is not None
        assert self._pool is not None, "open the worker first"
        config = self._config
        return await run_rollout(
            self._environment,
            job.task,
            client=self._client,
            pool=self._pool,
            limits=config.limits,
            sampling=config.sampling,
            tool_parser=config.tool_parser,
            reasoning_parser=config.reasoning_parser,
            insert_as=config.insert_as,
            tools_in_prompt=config.tools_in_prompt,
            decode=self._decode,
            trajectory=record,
            sandboxes=self._sandboxes,
            run_tools=self._tools,
            tape=tape,
            hook_pool=self._hook_pool,
            clock=clock,
            exchanges=exchanges,
        )

    async def _scoring(
        self, job: Job, record: Trajectory, unscored: Unscored, clock: RolloutClock
    ) -> Trajectory:
        assert self._hook_pool is not None, "open the worker first"
        return await score_again(
            self._environment,
            job.task,
            record,
            pool=self._hook_pool,
            left=unscored.left,
            limits=self._config.limits,
            clock=clock,
        )

    def servers(self) -> list[ServerReport]:
        """How the client finds its server; a client of a user's own need not say."""
        report = getattr(self._client, "report", None)
        return [] if report is None else [report()]

    def clocks(self) -> list[RolloutClock]:
        """Those of the rollouts in flight. From any thread."""
        return list(self._running.values())

    async def stop(self) -> None:
        """Cancel what is in flight, and whatever is still handed in."""
        self._stopped = True
        for rollout in list(self._running):
            rollout.cancel()

    async def close(self) -> None:
        """Let go of the connections, the sandboxes and the threads."""
        await self.stop()
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_SECONDS)
        if self._sandboxes is not None:
            await self._sandboxes.close()
        if self._tools is not None:
            await self._tools.close()
        if self._client is not None:
            await self._client.close()
        for pool in (self._pool, self._hook_pool):
            if pool is not None:
                pool.close()

    def _tape(self, job: Job) -> Tape | None:
        assert self._tools is not None, "open the worker first"
        if job.replay is not None:
            replay = job.replay
            return ReplayTape(decode_recording(replay.line), replay.sandbox, replay.tool_lists)
        return self._tools.recording_tape() if self._config.tools.record else None
