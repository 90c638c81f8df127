"""The loop as its user sees it: what rollouts are done with, and one call that does one.

The invariant: however a rollout ends, its record is finished: it has a stop reason, sequences and timing.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence

from rollway.agent_loop.rollout import Done, Rollout
from rollway.branching import covered_messages
from rollway.errors import UserError
from rollway.inference.protocol import Client, Sampling
from rollway.inference.sampling_fields import VLLM, effective
from rollway.limits import Limits
from rollway.sequences import Decode, build_sequences, count_fits
from rollway.tool_parsers import ToolParser, get_parser
from rollway.tools import ApprovalPolicy, CallExecutor, RolloutContext, Tool, ToolPool, ToolRegistry
from rollway.trajectory import Message, StopReason, Trajectory, TrajectoryTiming


class AgentLoop:
    """Runs one conversation at a time per call of `run`; any number of calls may be in flight.

    ``tool_parser`` names the format in which calls are read from the text when the server did not parse
    them; ``None`` reads none. ``reasoning_parser`` names the format in which a thought is split from the
    text when the server did not; ``None`` leaves it in the content, where no call is ever read from it.
    ``decode`` (a tokenizer's, special tokens kept) lets `Turn.prompt_fit` tell a prompt that only splits the
    same text otherwise. ``execute`` stands around every call: to record it, or to replay a record.

    ``approval`` is asked before a call runs. ``keep_results`` writes a result that is too long to show
    (`Limits.max_result_chars`) whole into the rollout's sandbox, and tells the model where.

    Raises:
        UserError: there is no such parser.
    """

    def __init__(
        self,
        client: Client,
        *,
        tools: ToolRegistry | Sequence[Tool] = (),
        pool: ToolPool | None = None,
        limits: Limits | None = None,
        sampling: Sampling | None = None,
        tool_parser: str | None = "hermes",
        reasoning_parser: str | None = None,
        decode: Decode | None = None,
        approval: ApprovalPolicy | None = None,
        keep_results: bool = False,
        execute: CallExecutor | None = None,
    ) -> None:
        self.client = client
        self.tools = tools if isinstance(tools, ToolRegistry) else ToolRegistry(tools)
        self.limits = limits or Limits()
        self.sampling = sampling or Sampling()
        self.drawn_with = effective(self.sampling, getattr(client, "spelling", VLLM))
        self.reasoning_parser = reasoning_parser
        self.decode = decode
        self.approval = approval
        self.keep_results = keep_results
        self.execute = execute
        self.parser: ToolParser | None = get_parser(tool_parser) if tool_parser else None
        if len(self.tools) and pool is None:
            raise ValueError("AgentLoop has tools but no pool to run them in: pass pool=ToolPool(64)")
        self.pool = pool or ToolPool(1)  # which starts no thread where there is nothing to run

    async def run(
        self,
        messages: Sequence[Message],
        *,
        trajectory: Trajectory | None = None,
        done: Done | None = None,
        context: RolloutContext | None = None,
    ) -> Trajectory:
        """Roll out from ``messages`` (OpenAI format, not changed) and return the record.

        A ``trajectory`` that is handed in is filled in place, so that its owner has the partial record
        whatever happens. One that has turns (a branch, see `rollway.branching`, or a rollout that was cut
        short) is gone on with: ``messages`` begin with its own, and its calls and tokens count towards the
        limits. ``done`` is asked after each turn's tool results; one that raises ends the rollout as an
        environment error. ``context`` goes to the tools that ask for
        it; ``None`` is a new one, its random numbers seeded by the trajectory's seed.

        Raises:
            ValueError: ``messages`` do not begin with those of a trajectory that has turns.
            UserError: results are to be kept, and there is no sandbox.
            asyncio.CancelledError: the caller cancelled. The record is whole up to that moment, with
                stop reason ``cancelled``, and the request and tools in flight have been cancelled.
        """
        if trajectory is None:
            trajectory = Trajectory(id=uuid.uuid4().hex, messages=[], seed=self.sampling.seed)
        context = context or _new_context(trajectory)
        context.tool_timeout = self.limits.tool_timeout
        if self.keep_results and context.sandbox is None:
            raise UserError("keep_results needs a sandbox to keep them in, and the rollout has none")
        covered = covered_messages(trajectory, messages)
        before = len(trajectory.turns)
        trajectory.messages = [dict(message) for message in messages]
        trajectory.stop_reason, trajectory.error = None, None  # of an earlier run
        trajectory.sampling = self.drawn_with
        rollout = Rollout(self, trajectory, done, covered, context)
        clock = asyncio.timeout(self.limits.timeout)
        started, wall = time.time(), time.monotonic()
        try:
            async with clock:
                trajectory.stop_reason = await rollout.run()
        except TimeoutError:
            if not clock.expired():
                raise  # somebody else's
            trajectory.stop_reason = StopReason.TIMEOUT
        except asyncio.CancelledError:
            trajectory.stop_reason = StopReason.CANCELLED
            raise
        finally:
            trajectory.sequences = build_sequences(trajectory.turns)
            trajectory.metrics |= count_fits(trajectory.turns)
            trajectory.timing = TrajectoryTiming(
                started=started,
                total=time.monotonic() - wall,
                model=sum(turn.timing.total for turn in trajectory.turns[before:]),
                tools=sum(turn.timing.tools for turn in trajectory.turns[before:]),
            )
        return trajectory


def _new_context(trajectory: Trajectory) -> RolloutContext:
    return RolloutContext(trajectory.id, random=random.Random(trajectory.seed))
