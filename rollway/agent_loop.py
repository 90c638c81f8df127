"""The multi-turn loop: ask the model, run the tools it calls, tell it the results, until it answers.

The invariant: at every moment the recorded conversation is valid (each tool call has exactly one tool
message, in the order of the calls) and the record says all that happened so far. Faults of the model, a
tool or the server end in the record; only a programming error raises.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
import uuid
from collections.abc import Callable, Sequence

from rollway.branching import covered_messages
from rollway.errors import UserError
from rollway.inference.errors import ContextOverflow, InferenceError
from rollway.inference.protocol import Client, Completion, CompletionRequest, PromptPrefix, Sampling
from rollway.limits import Limits
from rollway.replies import Reply, history_message, read_reply, repair_request
from rollway.sequences import Decode, PromptChain, build_sequences, count_fits, untrainable_reason
from rollway.tool_parsers import ToolParser, get_parser
from rollway.tools import (
    ApprovalPolicy,
    CallExecutor,
    ExecutedCall,
    RolloutContext,
    Tool,
    ToolPool,
    ToolRegistry,
    answer_without_running,
    execute_call,
)
from rollway.tools.budgets import fitted, shares_of
from rollway.trajectory import (
    ErrorRecord,
    Message,
    StopReason,
    ToolCall,
    ToolError,
    ToolErrorKind,
    Trajectory,
    TrajectoryTiming,
    Turn,
    TurnTiming,
)

CUT_OFF = frozenset({"length", "content_filter", "repetition"})
"""Finish reasons of a reply that is not whole. Calls in it are not run, even where they can be read."""

SERVER_GAVE_UP = frozenset({"abort", "error"})
"""Finish reasons of a reply that the server did not finish."""

Done = Callable[[Trajectory], bool]


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
        self.reasoning_parser = reasoning_parser
        self.decode = decode
        self.approval = approval
        self.keep_results = keep_results
        self.execute = execute
        self._parser: ToolParser | None = get_parser(tool_parser) if tool_parser else None
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
        limits. ``done`` is asked after each turn's tool results. ``context`` goes to the tools that ask for
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
        rollout = _Rollout(self, trajectory, done, covered, context)
        started, wall = time.time(), time.monotonic()
        try:
            async with asyncio.timeout(self.limits.timeout):
                trajectory.stop_reason = await rollout.run()
        except TimeoutError:
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


class _Rollout:
    """One run of the loop: the record, and what is needed to go on with it."""

    def __init__(
        self,
        loop: AgentLoop,
        trajectory: Trajectory,
        done: Done | None,
        covered: int,
        context: RolloutContext,
    ) -> None:
        self.loop = loop
        self.context = context
        self.limits = loop.limits
        self.trajectory = trajectory
        self.done = done
        self.definitions = [tool.shared_definition() for tool in loop.tools]
        self.deadline = time.monotonic() + loop.limits.timeout if loop.limits.timeout else None
        turns = trajectory.turns
        self.completion_tokens = sum(_sampled(turn) for turn in turns)
        self.tool_calls = sum(len(turn.tool_calls) for turn in turns)
        self.call_ids = {call.id for turn in turns for call in turn.tool_calls}
        self.chain = PromptChain(loop.decode)
        self.chain.go_on(turns)
        self.covered = covered  # messages that the chain's ids stand for

    async def run(self) -> StopReason:
        while True:
            reason = self._limit() or await self._turn()
            if reason is not None:
                return reason

    def _limit(self) -> StopReason | None:
        limits = self.limits
        if limits.max_turns is not None and len(self.trajectory.turns) >= limits.max_turns:
            return StopReason.MAX_TURNS
        budget = limits.max_completion_tokens
        if budget is not None and self.completion_tokens >= budget:
            return StopReason.MAX_TOKENS
        return None

    async def _turn(self) -> StopReason | None:
        started = time.monotonic()
        try:
            completion = await self.loop.client.generate(self._request())
        except ContextOverflow as error:
            self.trajectory.metadata["context_overflow"] = str(error)
            return StopReason.CONTEXT_OVERFLOW
        except InferenceError as error:
            if self.deadline is not None and time.monotonic() >= self.deadline:
                return StopReason.TIMEOUT  # the client has the same deadline, and noticed it first
            self.trajectory.error = ErrorRecord(
                kind=type(error).__name__, message=str(error), where="model", attempts=error.attempts
            )
            return StopReason.MODEL_ERROR
        reply = read_reply(
            completion,
            parser=self.loop._parser if self.definitions else None,
            reasoning_format=self.loop.reasoning_parser,
            tools=self.definitions,
            used_ids=self.call_ids,
            turn=len(self.trajectory.turns),
        )
        turn = self._keep(completion, reply, time.monotonic() - started)
        return await self._act(turn, reply)

    def _request(self) -> CompletionRequest:
        index = len(self.trajectory.turns)
        changes: dict[str, int] = {}
        budget = self._tokens_left()
        if budget is not None:
            own = self.loop.sampling.max_tokens
            changes["max_tokens"] = budget if own is None else min(budget, own)
        if self.trajectory.seed is not None:
            changes["seed"] = turn_seed(self.trajectory.seed, index)
        sampling = self.loop.sampling
        return CompletionRequest(
            messages=self.trajectory.messages,
            prefix=self._prefix(),
            tools=self.definitions,
            sampling=_with(sampling, changes) if changes else sampling,
            request_id=f"{self.trajectory.id}-{index}",
            deadline=self.deadline,
        )

    def _prefix(self) -> PromptPrefix | None:
        chain = self.chain
        if chain.sampled is None:
            return None
        return PromptPrefix(chain.token_ids, chain.sampled, self.covered)

    def _tokens_left(self) -> int | None:
        budget = self.limits.max_completion_tokens
        return None if budget is None else budget - self.completion_tokens

    def _keep(self, completion: Completion, reply: Reply, total: float) -> Turn:
        """Enter the reply into the record, in the shape in which the model is shown it again."""
        if completion.dropped_stop:
            self.chain.drop_stop(self.trajectory.turns[-1])
        turn = Turn(
            index=len(self.trajectory.turns),
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            reasoning=reply.reasoning,
            content=reply.content,
            tool_calls=reply.calls,
            parsed_by=reply.parsed_by,
            finish_reason=completion.finish_reason,
            usage=completion.usage,
            server=completion.server,
            weight_version=completion.weight_version,
            weight_versions=completion.weight_versions,
            resumes=completion.resumes,
            attempts=completion.attempts,
            timing=TurnTiming(
                queued=completion.timing.queued, first_token=completion.timing.first_token, total=total
            ),
        )
        self.chain.add(turn, completion.prompt_token_ids, rerendered=completion.rerendered)
        turn.untrainable = untrainable_reason(turn)
        self.completion_tokens += _sampled(turn)
        self.trajectory.model = completion.model or self.trajectory.model
        self.trajectory.turns.append(turn)
        self.trajectory.messages.append(history_message(reply))
        self.covered = len(self.trajectory.messages)
        return turn

    async def _act(self, turn: Turn, reply: Reply) -> StopReason | None:
        reason = self._reason_to_stop(turn, reply)
        if reason is not None:
            if reply.calls:
                self._answer([(call, _cut_off(call, turn)) for call in reply.calls], turn)
            return reason
        started = time.monotonic()
        stopped = await self._run_tools(turn, reply.calls)
        self._report_parse_errors(turn, reply)
        _set_tool_time(turn, time.monotonic() - started)
        if stopped:
            return StopReason.TOOL_STOPPED
        if self.done is not None and self.done(self.trajectory):
            return StopReason.ENVIRONMENT_DONE
        return None

    def _reason_to_stop(self, turn: Turn, reply: Reply) -> StopReason | None:
        if turn.finish_reason in SERVER_GAVE_UP:
            self.trajectory.error = ErrorRecord(
                kind="ServerAborted",
                message=f"the server ended turn {turn.index + 1} with {turn.finish_reason!r}",
                where="model",
            )
            return StopReason.MODEL_ERROR
        if turn.finish_reason in CUT_OFF:
            left = self._tokens_left()
            return StopReason.MAX_TOKENS if left is not None and left <= 0 else StopReason.TRUNCATED
        if reply.calls or reply.errors:
            return None
        return StopReason.COMPLETED if (reply.content or "").strip() else StopReason.EMPTY_RESPONSE

    async def _run_tools(self, turn: Turn, calls: Sequence[ToolCall]) -> bool:
        """Run a turn's calls at the same time. True when one of them ends the rollout."""
        before, self.tool_calls = self.tool_calls, self.tool_calls + len(calls)
        tasks = [
            asyncio.ensure_future(self._run_tool(call, turn, position=position))
            for position, call in enumerate(calls, before)
        ]
        notes: dict[str, str] = {}
        try:
            if tasks:
                await asyncio.wait(tasks)
            if self.loop.keep_results:
                notes = await self._keep_results(_outcomes(tasks, calls, turn))
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        finally:
            executed = self._fitted(_outcomes(tasks, calls, turn), notes)
            self._answer(list(zip(calls, executed, strict=True)), turn)
        return any(one.stop for one in executed)

    async def _keep_results(self, executed: Sequence[ExecutedCall]) -> dict[str, str]:
        from rollway.tools.kept_results import keep_whole

        assert self.context.sandbox is not None  # `run` saw to it
        return await keep_whole(executed, self._shares(executed), self.context.sandbox)

    def _fitted(self, executed: Sequence[ExecutedCall], notes: dict[str, str]) -> Sequence[ExecutedCall]:
        """The results cut to what a turn may show. Each is within its own bound already."""
        if self.limits.max_turn_result_chars is None and not notes:
            return executed
        return fitted(executed, self._shares(executed), notes)

    def _shares(self, executed: Sequence[ExecutedCall]) -> list[int]:
        return shares_of(executed, self.limits.max_result_chars, self.limits.max_turn_result_chars)

    async def _run_tool(self, call: ToolCall, turn: Turn, *, position: int) -> ExecutedCall:
        """Run the rollout's call number ``position`` (0-based), or say why it may not run."""
        limit = self.limits.max_tool_calls
        if limit is not None and position >= limit:
            return answer_without_running(
                call,
                turn=turn.index + 1,
                kind=ToolErrorKind.NOT_ALLOWED,
                error=f"the rollout's limit of {limit} tool calls is used up",
                told="Not run: no tool calls are left. Answer with what you know.",
            )
        run = functools.partial(
            execute_call,
            call,
            registry=self.loop.tools,
            pool=self.loop.pool,
            turn=turn.index + 1,
            timeout=self.limits.tool_timeout,
            max_result_chars=self.limits.max_result_chars,
            context=self.context,
            approval=self.loop.approval,
        )
        if self.loop.execute is None:
            return await run()
        return await self.loop.execute(call, turn=turn.index + 1, context=self.context, run=run)

    def _answer(self, answers: Sequence[tuple[ToolCall, ExecutedCall]], turn: Turn) -> None:
        for call, executed in answers:
            turn.tool_results.append(executed.result)
            if executed.error is not None:
                self.trajectory.tool_errors.append(executed.error)
            self.trajectory.messages.append(
                {
                    "role": "tool",
                    "tool_call_id": call.id,
                    "name": call.name,
                    "content": executed.result.content,
                }
            )

    def _report_parse_errors(self, turn: Turn, reply: Reply) -> None:
        if not reply.errors:
            return
        told = repair_request(reply.errors)
        self.trajectory.messages.append(told)
        for error in reply.errors:
            self.trajectory.tool_errors.append(
                ToolError(
                    turn=turn.index + 1,
                    tool_name=error.name,
                    arguments=error.raw,
                    kind=ToolErrorKind.PARSE,
                    error=f"{error.kind.value} at character {error.position}: {error.message}",
                    tool_result=told["content"],
                )
            )


def _new_context(trajectory: Trajectory) -> RolloutContext:
    return RolloutContext(trajectory.id, random=random.Random(trajectory.seed))


def turn_seed(seed: int, turn: int) -> int:
    """The sampling seed of one turn: fixed by the rollout's seed, different for each turn, below 2**31."""
    return (seed * 1_000_003 + turn * 7_919) % 2**31


def _sampled(turn: Turn) -> int:
    return len(turn.token_ids) if turn.token_ids is not None else turn.usage.completion_tokens


def _with(sampling: Sampling, changes: dict[str, int]) -> Sampling:
    fields = {name: getattr(sampling, name) for name in Sampling.__struct_fields__}
    return Sampling(**(fields | changes))


def _cut_off(call: ToolCall, turn: Turn) -> ExecutedCall:
    return answer_without_running(
        call,
        turn=turn.index + 1,
        kind=ToolErrorKind.CANCELLED,
        error=f"the reply ended with {turn.finish_reason!r}, so the call may not be whole",
        told="Not run: the reply was cut off.",
    )


def _outcome(task: asyncio.Future[ExecutedCall], call: ToolCall, turn: Turn) -> ExecutedCall:
    if task.done() and not task.cancelled() and task.exception() is None:
        return task.result()
    if task.done() and not task.cancelled():
        task.result()  # a programming error of the engine's: raise it
    return answer_without_running(
        call,
        turn=turn.index + 1,
        kind=ToolErrorKind.CANCELLED,
        error="the rollout ended while the tool ran",
        told="Not finished: the rollout ended.",
    )


def _outcomes(
    tasks: Sequence[asyncio.Future[ExecutedCall]], calls: Sequence[ToolCall], turn: Turn
) -> list[ExecutedCall]:
    return [_outcome(task, call, turn) for task, call in zip(tasks, calls, strict=True)]


def _set_tool_time(turn: Turn, seconds: float) -> None:
    timing = turn.timing
    turn.timing = TurnTiming(
        queued=timing.queued, first_token=timing.first_token, total=timing.total, tools=seconds
    )
