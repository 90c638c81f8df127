"""One rollout, turn by turn: ask the model, keep what it replied, act on it, until there is a reason to stop.

The invariant: a reply is entered into the record whole, as the model is shown it again, before anything is
done about it; the tokens and calls of all turns count towards the limits.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from rollway.agent_loop.calls import TurnCalls
from rollway.agent_loop.deadlines import ClockKind, Deadlines, Judgement, Moment, TimeLeft, judged, told
from rollway.agent_loop.placement import Placement
from rollway.agent_loop.stopping import promises_call, reached_limit, reason_to_stop, server_gave_up
from rollway.clock import RolloutClock, WaitKind
from rollway.inference.attempts import AttemptLog
from rollway.inference.errors import (
    ContextOverflow,
    InferenceError,
    InvalidReply,
    NoReplyInTime,
    UnreadableCall,
)
from rollway.inference.exchanges import ExchangeLog
from rollway.inference.protocol import Completion, CompletionRequest, PromptPrefix, Sampling
from rollway.replies import Reply, history_message, ids_in, lost_call, read_reply
from rollway.sequences import PromptChain, cut_in_prompt, untrainable_reason
from rollway.tool_parsers.stray import names_a_call
from rollway.tools import RolloutContext
from rollway.tools.pool import is_async
from rollway.trajectory import (
    Attempt,
    Cut,
    ErrorRecord,
    Message,
    ModelCall,
    StopReason,
    Trajectory,
    Turn,
    TurnTiming,
)

if TYPE_CHECKING:
    from rollway.agent_loop.loop import AgentLoop

Done = Callable[[Trajectory], bool | Awaitable[bool]]

_log = logging.getLogger(__name__)

OVERFLOW = ContextOverflow.__name__
UNREADABLE_CALL = UnreadableCall.__name__

ALL_IN_THOUGHT = (
    "the whole reply stands in its thought: if many do, the reasoning parser (the server's or the loop's) is "
    "hardly the model's"
)
"""Of a rollout that ends without an answer, in its metadata."""

MOST_TRACEBACK = 8_000
"""Characters of a traceback that are kept, from its end."""


class Rollout:
    """One run of the loop: the record, and what is needed to go on with it.

    ``covered`` is how many of the record's messages stand in its turns already; ``timeout`` the seconds left
    of the wall clock; ``done`` as for `AgentLoop.run`.
    """

    def __init__(
        self,
        loop: AgentLoop,
        trajectory: Trajectory,
        done: Done | None,
        covered: int,
        context: RolloutContext,
        clock: RolloutClock,
        *,
        left: TimeLeft,
        exchanges: ExchangeLog | None = None,
    ) -> None:
        self.loop = loop
        self.exchanges = exchanges
        self.clock = clock
        self.deadlines = Deadlines(left, clock, self._moment)
        self.asking_since = 0.0  # when the model call in progress began

        self.limits = loop.limits
        self.trajectory = trajectory
        self.done = done
        self.definitions = [tool.shared_definition() for tool in loop.tools]
        turns = trajectory.turns
        self.completion_tokens = sampled_tokens(turns)
        self.placement = Placement(loop, trajectory)
        self.call_ids = ids_in(trajectory.messages)
        self.chain = PromptChain(loop.decode)
        self.chain.go_on(turns)
        self.covered = covered  # messages that the chain's ids stand for
        self.calls = TurnCalls(
            trajectory,
            context,
            tools=loop.tools,
            pool=loop.pool,
            limits=loop.limits,
            approval=loop.approval,
            keep_results=loop.keep_results,
            execute=loop.execute,
            clock=clock,
        )

    async def run(self) -> StopReason:
        """Take turns until there is a reason to stop."""
        while True:
            reason = self._limit() or await self._turn()
            if reason is not None:
                return reason

    def _limit(self) -> StopReason | None:
        turns = len(self.trajectory.turns)
        return reached_limit(self.limits, turns=turns, tokens_left=self._tokens_left())

    async def _turn(self) -> StopReason | None:
        started = time.monotonic()
        try:
            completion = await self._asked_model()
        except ContextOverflow as error:
            self.trajectory.metadata["context_overflow"] = str(error)
            return StopReason.CONTEXT_OVERFLOW
        except InferenceError as error:
            if isinstance(error, NoReplyInTime) or self._is_past():  # the client noticed it first
                moment = self._moment(ClockKind.WALL, error)
                self.deadlines.cut_short(moment)
                return self.cut_off(moment, error)
            self.trajectory.error = ErrorRecord(
                kind=type(error).__name__, message=str(error), where="model", attempts=error.attempts
            )
            return StopReason.MODEL_ERROR
        cut = self._cut_prompt(completion)
        if cut is not None:
            self.trajectory.calls.append(
                ModelCall(
                    turn=len(self.trajectory.turns),
                    outcome="rejected",
                    attempts=completion.attempts,
                    seconds=time.monotonic() - started,
                    request_id=self._request_id(),
                    server=completion.server,
                )
            )
            self.trajectory.error = ErrorRecord(
                kind=InvalidReply.__name__,
                message=f"{completion.server} did not read the whole prompt: {cut}",
                where="model",
            )
            return StopReason.MODEL_ERROR
        reply = read_reply(
            completion,
            parser=self.loop.parser if self.definitions else None,
            reasoning_format=self.loop.reasoning_parser,
            tools=self.definitions,
            used_ids=self.call_ids,
            turn=len(self.trajectory.turns),
            special_tokens=self.loop.special_tokens,
        )
        self._tell_lost_call(reply)
        turn = self._keep(completion, reply, time.monotonic() - started)
        return await self._act(turn, reply, completion)

    async def _asked_model(self) -> Completion:
        """The model's reply. What its template refuses is asked again as it takes it."""
        try:
            return await self._generated()
        except InferenceError as error:
            if not self.placement.mend(error):
                raise
        calls = self.trajectory.calls
        calls[-1] = msgspec.structs.replace(calls[-1], outcome="rejected")
        completion = await self._generated()
        self.placement.remember()
        return completion

    async def _generated(self) -> Completion:
        """One model call. One that gives no reply is entered into the record, with its failed tries."""
        tried = AttemptLog()
        request = self._request(tried)
        self.asking_since = time.monotonic()
        try:
            with self.clock.doing("model"):
                return await self.loop.client.generate(request)
        except InferenceError as error:
            late = isinstance(error, NoReplyInTime) or self._is_past()
            outcome = "overflow" if isinstance(error, ContextOverflow) else "deadline" if late else "error"
            self._enter_call(request, outcome, error.attempts or tried.entries)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled" if self.deadlines.cut is None else "deadline"
            self._enter_call(request, outcome, tried.entries)
            raise

    def _is_past(self) -> bool:
        wall = self.deadlines.wall
        return wall is not None and time.monotonic() >= wall

    def _enter_call(
        self, request: CompletionRequest, outcome: str, attempts: Sequence[Attempt], server: str = ""
    ) -> None:
        self.trajectory.calls.append(
            ModelCall(
                turn=len(self.trajectory.turns),
                outcome=outcome,
                attempts=list(attempts),
                seconds=time.monotonic() - self.asking_since,
                request_id=request.request_id,
                server=server or getattr(self.loop.client, "server", ""),
            )
        )

    def _moment(self, clock: ClockKind, error: InferenceError | None = None) -> Moment:
        """What the rollout is doing now, or was until ``error`` told that the deadline has come."""
        now = time.monotonic()
        phase = "model" if error is not None else self.clock.phase
        since = self.asking_since if phase == "model" else self.clock.phase_since
        waits = self.clock.waits_now
        if isinstance(error, NoReplyInTime) and error.waiting_for is not None:
            waits = frozenset({error.waiting_for})
        return Moment(
            clock=clock,
            phase=phase,
            seconds=now - since,
            waits=waits,
            stalled=phase == "model" and self.clock.waited_within(since, now, [WaitKind.STALL]) > 0,
            running=self.calls.running,
            turns=len(self.trajectory.turns),
        )

    def cut_off(self, moment: Moment, error: InferenceError | None = None) -> StopReason:
        """Enter where a clock cut in; the stop reason."""
        self.trajectory.cut = Cut(moment.phase, round(moment.seconds, 3), moment.clock.value)
        judgement = judged(moment)
        if judgement is Judgement.SCORED:
            return StopReason.TIMEOUT
        places = {Judgement.NO_REPLY: "model", Judgement.HOOK_LATE: "environment"}
        self.trajectory.error = ErrorRecord(
            kind=judgement.value,
            message=told(moment, self.limits),
            where=places.get(judgement, "tools"),
            attempts=error.attempts if error is not None else [],
        )
        no_reply = judgement is Judgement.NO_REPLY
        return StopReason.MODEL_ERROR if no_reply else StopReason.ENVIRONMENT_ERROR

    def _tell_lost_call(self, reply: Reply) -> None:
        """Say once for a client that a reply held what looks like a call and that its format yields none."""
        learned = self.loop.learned
        if reply.calls or learned.told_lost_call or not self.definitions:
            return
        if not all(error.stray for error in reply.errors):
            return
        for text in (reply.content, reply.reasoning):
            tool = names_a_call(text or "", self.definitions)
            if tool:
                learned.told_lost_call = True
                _log.warning(lost_call(tool, text or "", self.loop.parser))
                return

    def _request(self, tried: AttemptLog) -> CompletionRequest:
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
            messages=self.placement.shown(self.trajectory.messages, self.covered),
            prefix=self._prefix(),
            tools=[] if self.loop.tools_in_prompt else self.definitions,
            special_tokens=self.loop.special_tokens,
            sampling=_with(sampling, changes) if changes else sampling,
            rollout_budget=budget is not None and sampling.max_tokens is None,
            request_id=self._request_id(),
            deadline=self.deadlines.wall,
            tried=tried,
            exchanges=self.exchanges,
            clock=self.clock,
        )

    def _request_id(self) -> str:
        return f"{self.trajectory.id}-{len(self.trajectory.turns)}"

    def _prefix(self) -> PromptPrefix | None:
        chain = self.chain
        if chain.sampled is None:
            return None
        covered = self.placement.shown(self.trajectory.messages[: self.covered], self.covered)
        return PromptPrefix(chain.token_ids, chain.sampled, len(covered))

    def _cut_prompt(self, completion: Completion) -> str | None:
        """How the server's own ids show that it cut the prompt. A client that sends ids has compared them."""
        prompt, chain = completion.prompt_token_ids, self.chain
        if prompt is None or chain.sampled is None or completion.rerendered:
            return None
        thoughts = any(_may_hold_thought(turn) for turn in self.trajectory.turns)
        return cut_in_prompt(chain.token_ids, chain.sampled, prompt, thoughts=thoughts)

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
            text=reply.text if self.loop.tools_in_prompt and reply.calls else None,
            tool_calls=reply.calls,
            parsed_by=reply.parsed_by,
            finish_reason=completion.finish_reason,
            reply_id=completion.reply_id,
            server_fields=reply.server_fields,
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
        turn.untrainable = completion.untrainable or untrainable_reason(turn)
        self.completion_tokens += _sampled(turn)
        unread = sum(each.times for each in turn.attempts if each.error == UNREADABLE_CALL)
        if unread:
            metrics = self.trajectory.metrics
            metrics["calls_unread_by_server"] = metrics.get("calls_unread_by_server", 0.0) + unread
        self.trajectory.model = completion.model or self.trajectory.model
        self.trajectory.turns.append(turn)
        self.trajectory.messages.append(history_message(reply))
        self.covered = len(self.trajectory.messages)
        return turn

    async def _act(self, turn: Turn, reply: Reply, completion: Completion) -> StopReason | None:
        fault = completion.fault
        reason = reason_to_stop(
            turn, reply, self._tokens_left(), at_stop=completion.at_stop, failed=fault is not None
        )
        if reason is not None:
            self.calls.answer_cut_off(reply.calls, reply.errors, turn)
            if reason is StopReason.EMPTY_RESPONSE and (reply.reasoning or "").strip():
                self.trajectory.metadata["empty_response"] = ALL_IN_THOUGHT
            if promises_call(turn, reply):
                self.calls.note_missing_call(turn)
            if reason is StopReason.MODEL_ERROR and fault is not None and fault.kind == OVERFLOW:
                self.trajectory.metadata["context_overflow"] = fault.message
                return StopReason.CONTEXT_OVERFLOW
            if reason is StopReason.MODEL_ERROR:
                self.trajectory.error = fault or server_gave_up(turn)
            return reason
        started = time.monotonic()
        try:
            with self.clock.doing("tools"):
                stopped = await self.calls.run(reply.calls, turn)
        except BaseException:
            self.calls.leave_unread(reply.errors, turn, why="the rollout ended while other calls ran")
            raise
        if reply.errors:
            self.calls.ask_again(reply.errors, turn, under_results=self.placement.under_results)
        _set_tool_time(turn, time.monotonic() - started)
        broken = self.calls.machine_fault
        if broken is not None:
            self.trajectory.error = ErrorRecord(kind=broken.kind, message=broken.message, where=broken.where)
            return StopReason.ENVIRONMENT_ERROR
        reason = None if self.done is None else await self._asked(self.done)
        if stopped and reason is not StopReason.ENVIRONMENT_ERROR:
            return StopReason.TOOL_STOPPED
        return reason

    async def _asked(self, done: Done) -> StopReason | None:
        """What the environment says. A fault of its own ends in the record, whose conversation stays as it
        was, whatever ``done`` does to it."""
        messages, turns = self.trajectory.messages[:], self.trajectory.turns[:]
        try:
            with self.clock.doing("done"), self.clock.resting():
                is_done = await self._answer(done)
            if self._put_back(messages, turns):
                raise ValueError(
                    "done changed the conversation; it may read messages and turns, and write to metadata"
                )
            return StopReason.ENVIRONMENT_DONE if is_done else None
        except (Exception, SystemExit) as error:
            self._put_back(messages, turns)
            self.trajectory.error = ErrorRecord(
                kind=type(error).__name__,
                message=str(error),
                where="environment",
                traceback="".join(traceback.format_exception(error))[-MOST_TRACEBACK:],
            )
            return StopReason.ENVIRONMENT_ERROR

    async def _answer(self, done: Done) -> bool:
        """A sync ``done`` is asked in a thread of the pool, where one that hangs holds up nobody else."""
        if is_async(done):
            return bool(await cast(Awaitable[bool], done(self.trajectory)))
        seconds = self.limits.hook_seconds
        came = await self.loop.pool.call(done, self.trajectory, timeout=seconds)
        if came.timed_out:
            raise TimeoutError(f"done did not return within {seconds:g} s")
        if came.error is not None:
            raise came.error
        return bool(came.value)

    def _put_back(self, messages: list[Message], turns: list[Turn]) -> bool:
        """Undo what was done to the lists. False: nothing was."""
        record = self.trajectory
        if _same(record.messages, messages) and _same(record.turns, turns):
            return False
        record.messages, record.turns = messages, turns
        return True


def _same(now: Sequence[object], before: Sequence[object]) -> bool:
    return len(now) == len(before) and all(map(operator.is_, now, before))


def turn_seed(seed: int, turn: int) -> int:
    """The sampling seed of one turn: fixed by the rollout's seed, different for each turn, below 2**31."""
    return (seed * 1_000_003 + turn * 7_919) % 2**31


def _may_hold_thought(turn: Turn) -> bool:
    """Whether a chat template may find a thought in a turn, and take it out of the next prompt."""
    content = (turn.content or "").lower()
    return bool(turn.reasoning) or any(mark in content for mark in ("think", "thought", "<|", "reason"))


def sampled_tokens(turns: Iterable[Turn]) -> int:
    """What turns take of the budget."""
    return sum(_sampled(turn) for turn in turns)


def _sampled(turn: Turn) -> int:
    """What a turn takes of the budget: its ids where they are known, else what the server counted."""
    return len(turn.token_ids) if turn.token_ids is not None else turn.usage.completion_tokens


def _with(sampling: Sampling, changes: dict[str, int]) -> Sampling:
    fields = {name: getattr(sampling, name) for name in Sampling.__struct_fields__}
    return Sampling(**(fields | changes))


def _set_tool_time(turn: Turn, seconds: float) -> None:
    timing = turn.timing
    turn.timing = TurnTiming(
        queued=timing.queued, first_token=timing.first_token, total=timing.total, tools=seconds
    )
