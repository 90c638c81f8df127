"""The public loop: its settings, and one call that runs one rollout.

The invariant: however a rollout ends, its record is complete: it has a stop reason, sequences and timing.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from typing import get_args

from rollway.agent_loop.deadlines import noted_waits
from rollway.agent_loop.going_on import being_run, forget_end, refuse_finished, seconds_left, timing_of
from rollway.agent_loop.prompts import readied_prompt
from rollway.agent_loop.rollout import Done, Rollout, sampled_tokens
from rollway.agent_loop.shown import InsertAs
from rollway.branching import covered_messages
from rollway.clock import RolloutClock
from rollway.errors import UserError
from rollway.inference.exchanges import ExchangeLog
from rollway.inference.learned import Learned
from rollway.inference.protocol import Client, Sampling
from rollway.inference.sampling_fields import VLLM, effective
from rollway.limits import Limits
from rollway.sequences import Decode, build_sequences, count_fits
from rollway.tool_parsers import ToolParser, get_parser, get_reasoning_format
from rollway.tools import ApprovalPolicy, CallExecutor, RolloutContext, Tool, ToolPool, ToolRegistry
from rollway.tools.tool_state import random_mark, restore, saved_state
from rollway.trajectory import Message, StopReason, Trajectory


class AgentLoop:
    """Runs one conversation per call of `run`; any number of calls may be in flight.

    ``tool_parser`` names the format of tool calls that the server did not parse; ``None`` parses none.
    ``reasoning_parser`` names the format of reasoning that the server did not split off; ``None`` leaves it
    in the content, where calls in it are ignored. ``decode`` (a tokenizer's, special tokens kept) lets
    `Turn.prompt_fit` recognize a prompt that only splits the same text differently. ``execute`` wraps every
    call, to record it or to replay a recording.

    ``approval`` decides before a call runs. ``keep_results`` writes the full text of a result that exceeds
    `Limits.max_result_chars` into the rollout's sandbox, and names the file in the result.

    ``insert_as`` is where the engine's own words stand behind tool results: "user" (a user message),
    "tool_suffix" (a paragraph under the last result), or "auto" (the paragraph, once the template has refused
    a user message there).

    ``tools_in_prompt`` names a format for templates that leave out tools: the system message then says what
    the tools are and how the format writes a call, results are told in a user message, calls stand as the
    model wrote them, and the format's parser reads them, whatever ``tool_parser`` is.

    Raises:
        UserError: unknown parser or place.
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
        insert_as: InsertAs = "auto",
        tools_in_prompt: str | None = None,
    ) -> None:
        if insert_as not in get_args(InsertAs):
            raise UserError(f"insert_as must be one of {', '.join(get_args(InsertAs))}, got {insert_as!r}")
        self.client = client
        self.insert_as = insert_as
        self.learned: Learned = getattr(client, "learned", None) or Learned()
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
        self.tools_in_prompt = get_parser(tools_in_prompt) if tools_in_prompt else None
        self.parser = self.tools_in_prompt or self.parser
        self.special_tokens = bool(self.parser and self.parser.format.special_marks) or bool(
            reasoning_parser and get_reasoning_format(reasoning_parser).special_marks
        )
        if len(self.tools) and pool is None:
            raise ValueError("AgentLoop has tools but no pool; pass pool=ToolPool(64)")
        self.pool = pool or ToolPool(1)  # which starts no thread where there is nothing to run

    async def run(
        self,
        messages: Sequence[Message],
        *,
        trajectory: Trajectory | None = None,
        done: Done | None = None,
        context: RolloutContext | None = None,
        clock: RolloutClock | None = None,
        exchanges: ExchangeLog | None = None,
    ) -> Trajectory:
        """Roll out from ``messages`` (OpenAI format, not changed) and return the record.

        A given ``trajectory`` is filled in place, so that its owner has the partial record whatever happens.
        If it has turns (a branch, see `rollway.branching`, or an interrupted rollout), the run resumes it:
        ``messages`` must begin with its own, and its calls, tokens and seconds count towards the limits; its
        tools have the notes and the random numbers that they had, and its score is taken away. The loop
        calls ``done`` after each turn's tool results, also where a tool stopped the rollout. A sync one runs
        in a thread of the pool; one that raises, or changes the conversation, ends the rollout with an
        environment error. ``context`` goes to the tools that ask for it; ``None`` creates one, with numbers
        seeded by the trajectory's seed. The loop enters on ``clock`` what the rollout does and waits for;
        ``None`` creates one. `Trajectory.cut` tells which limit's clock ended the rollout, if one
        did; it is a failure unless the policy used up the time (see `rollway.agent_loop.deadlines`). The
        client enters in ``exchanges`` every request and every reply as it is.

        Raises:
            ValueError: ``messages`` do not begin with those of a trajectory that has turns.
            UserError: ``keep_results`` is set, but there is no sandbox; or ``messages`` hold a tool call
                without its tool message, or a value that `rollway.plain_values` makes nothing of; or the
                trajectory is finished and nothing is added to it, or is being run.
            asyncio.CancelledError: the caller cancelled. The record is complete up to that moment, with
                stop reason ``cancelled``, and the request and tools in flight are cancelled.
        """
        if trajectory is None:
            trajectory = Trajectory(id=uuid.uuid4().hex, messages=[], seed=self.sampling.seed)
        context = context or _new_context(trajectory)
        context.tool_timeout = self.limits.tool_timeout
        if self.keep_results and context.sandbox is None:
            raise UserError("keep_results requires a sandbox, but the rollout has none")
        with being_run(trajectory):
            clock = clock or RolloutClock(trajectory.id)
            return await self._run(messages, trajectory, done, context, clock, exchanges)

    async def _run(
        self,
        messages: Sequence[Message],
        trajectory: Trajectory,
        done: Done | None,
        context: RolloutContext,
        clock: RolloutClock,
        exchanges: ExchangeLog | None,
    ) -> Trajectory:
        covered = covered_messages(trajectory, messages)
        refuse_finished(trajectory, messages, self.limits, sampled_tokens(trajectory.turns))
        readied = readied_prompt(messages)
        before, earlier, state = len(trajectory.turns), trajectory.timing, trajectory.tool_state
        if before and trajectory.sampling != self.drawn_with:
            trajectory.sampling = None
        else:
            trajectory.sampling = self.drawn_with
        trajectory.messages = readied
        forget_end(trajectory)
        mark = random_mark(context.random) if len(self.tools) else None
        restore(state, context)
        waited_before, worked_before = trajectory.waits, clock.working()
        rollout = Rollout(
            self,
            trajectory,
            done,
            covered,
            context,
            clock,
            left=seconds_left(self.limits, earlier),
            exchanges=exchanges,
        )
        started, wall = time.time(), time.monotonic()
        try:
            async with rollout.deadlines:
                trajectory.stop_reason = await rollout.run()
        except TimeoutError:
            if rollout.deadlines.cut is None:
                raise  # somebody else's
            trajectory.stop_reason = rollout.cut_off(rollout.deadlines.cut)
        except asyncio.CancelledError:
            trajectory.stop_reason = StopReason.CANCELLED
            raise
        finally:
            trajectory.waits = noted_waits(clock, waited_before)
            trajectory.sequences = build_sequences(trajectory.turns)
            trajectory.metrics |= count_fits(trajectory.turns)
            trajectory.timing = timing_of(
                earlier,
                trajectory.turns[before:],
                started=started,
                total=time.monotonic() - wall,
                working=clock.working() - worked_before,
            )
            trajectory.tool_state = saved_state(context, mark, state)
        return trajectory


def _new_context(trajectory: Trajectory) -> RolloutContext:
    return RolloutContext(trajectory.id, random=random.Random(trajectory.seed))
