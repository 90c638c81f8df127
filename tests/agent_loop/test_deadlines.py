"""The clocks of a rollout: which deadline is the policy's, and which is the machines'."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable

import pytest

from rollway.agent_loop import AgentLoop
from rollway.agent_loop.deadlines import ClockKind, Judgement, Moment, judged
from rollway.clock import RolloutClock, WaitKind
from rollway.inference.errors import BadRequest, ContextOverflow, ServerUnreachable
from rollway.inference.protocol import Completion, CompletionRequest
from rollway.limits import Limits
from rollway.tools import Tool, ToolPool, tool
from rollway.trajectory import StopReason, ToolCall, Trajectory

QUESTION = [{"role": "user", "content": "Go on."}]
WALL, WORKING = ClockKind.WALL, ClockKind.WORKING


def moment(clock: ClockKind, phase: str, **facts: object) -> Moment:
    return Moment(clock=clock, phase=phase, seconds=1.0, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (moment(WORKING, "model", turns=1), Judgement.SCORED),
        (moment(WORKING, "model", turns=0), Judgement.NO_REPLY),
        (moment(WORKING, "model", turns=1, stalled=True), Judgement.NO_REPLY),
        (moment(WORKING, "model", turns=1, waits=frozenset({WaitKind.AWAY})), Judgement.NO_REPLY),
        (moment(WALL, "model", turns=1), Judgement.NO_REPLY),
        (moment(WALL, "model", turns=1, waits=frozenset({WaitKind.RETRY})), Judgement.NO_REPLY),
        (moment(WALL, "tools", turns=1, running=1), Judgement.SCORED),
        (moment(WALL, "tools", turns=1, running=1, waits=frozenset({WaitKind.POOL})), Judgement.SCORED),
        (moment(WALL, "tools", turns=1, waits=frozenset({WaitKind.POOL})), Judgement.POOL_STARVED),
        (moment(WALL, "tools", turns=1, waits=frozenset({WaitKind.APPROVAL})), Judgement.UNDECIDED),
        (moment(WORKING, "tools", turns=1, running=2), Judgement.SCORED),
        (moment(WORKING, "tools", turns=1, waits=frozenset({WaitKind.POOL})), Judgement.SCORED),
        (moment(WALL, "done", turns=1), Judgement.HOOK_LATE),
        (moment(WALL, "keep_results", turns=1), Judgement.HOOK_LATE),
    ],
)
def test_a_deadline_is_the_policys_only_where_it_used_up_the_time(cut: Moment, expected: Judgement) -> None:
    assert judged(cut) is expected


Reply = Callable[[CompletionRequest], Awaitable[Completion]]


class Scripted:
    """A client whose replies are functions; the last one is used for all that follow."""

    server = "http://scripted"

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies
        self.asked = 0

    async def generate(self, request: CompletionRequest) -> Completion:
        reply = self.replies[min(self.asked, len(self.replies) - 1)]
        self.asked += 1
        return await reply(request)

    async def close(self) -> None: ...


def calling(*names: str) -> Reply:
    async def reply(request: CompletionRequest) -> Completion:
        calls = [ToolCall(f"{name}-{i}", name, json.dumps({})) for i, name in enumerate(names)]
        return Completion(tool_calls=calls, finish_reason="tool_calls", reply_id="chatcmpl-1")

    return reply


async def answering(request: CompletionRequest) -> Completion:
    return Completion(content="done", finish_reason="stop")


async def hanging(request: CompletionRequest) -> Completion:
    await asyncio.Event().wait()
    raise AssertionError("never reached")


async def rolled_out(
    *replies: Reply, tools: tuple[Tool, ...] = (), pool: ToolPool | None = None, limits: Limits | None = None
) -> Trajectory:
    own = pool or ToolPool(4)
    try:
        loop = AgentLoop(Scripted(*replies), tools=tools, pool=own, limits=limits)
        return await loop.run(QUESTION)
    finally:
        if pool is None:
            own.close()


def failure(trajectory: Trajectory) -> tuple[StopReason | None, str]:
    return trajectory.stop_reason, trajectory.error.kind if trajectory.error else ""


@tool
def look() -> str:
    """Look."""
    return "seen"


async def test_a_first_turn_that_is_cut_is_a_failure_whatever_the_clock() -> None:
    for limits in (Limits(timeout=0.05), Limits(working_timeout=0.05)):
        trajectory = await rolled_out(hanging, limits=limits)
        assert failure(trajectory) == (StopReason.MODEL_ERROR, "NoReplyInTime")
        assert [call.outcome for call in trajectory.calls] == ["deadline"]


async def test_a_policy_that_used_up_its_working_time_is_scored() -> None:
    trajectory = await rolled_out(calling("look"), hanging, tools=(look,), limits=Limits(working_timeout=0.2))
    assert failure(trajectory) == (StopReason.TIMEOUT, "")
    assert trajectory.cut is not None
    assert (trajectory.cut.where, trajectory.cut.clock) == ("model", "working_timeout")


async def test_a_reply_that_the_wall_clock_cut_off_is_nobodys_score() -> None:
    trajectory = await rolled_out(calling("look"), hanging, tools=(look,), limits=Limits(timeout=0.2))
    assert failure(trajectory) == (StopReason.MODEL_ERROR, "NoReplyInTime")
    assert "limits.working_timeout" in (trajectory.error.message if trajectory.error else "")


async def test_a_tool_that_runs_at_the_deadline_is_the_policys() -> None:
    @tool
    async def wait() -> str:
        """Wait for ever."""
        await asyncio.Event().wait()
        return ""

    for limits in (Limits(timeout=0.2), Limits(working_timeout=0.2)):
        trajectory = await rolled_out(calling("wait"), tools=(wait,), limits=limits)
        assert failure(trajectory) == (StopReason.TIMEOUT, "")
        assert trajectory.cut is not None
        assert trajectory.cut.where == "tools"


async def test_a_call_that_only_waited_for_the_pool_is_a_failure() -> None:
    free, taken = threading.Event(), threading.Event()

    def occupy() -> None:
        taken.set()
        free.wait(60)

    with ToolPool(1) as pool:
        other = asyncio.create_task(pool.call(occupy))
        await asyncio.to_thread(taken.wait, 60)
        trajectory = await rolled_out(calling("look"), tools=(look,), pool=pool, limits=Limits(timeout=0.2))
        free.set()
        await other
    assert failure(trajectory) == (StopReason.ENVIRONMENT_ERROR, "PoolStarved")
    assert "pool_size" in (trajectory.error.message if trajectory.error else "")
    assert trajectory.waits["pool"] > 0


async def test_time_in_the_queue_of_the_pool_is_no_working_time() -> None:
    """One thread or many: the outcome is the same."""
    free, taken = threading.Event(), threading.Event()

    def occupy() -> None:
        taken.set()
        free.wait(60)

    with ToolPool(1) as pool:
        other = asyncio.create_task(pool.call(occupy))
        await asyncio.to_thread(taken.wait, 60)
        asyncio.get_running_loop().call_later(0.6, free.set)
        trajectory = await rolled_out(
            calling("look"), answering, tools=(look,), pool=pool, limits=Limits(working_timeout=0.3)
        )
        await other
    assert failure(trajectory) == (StopReason.COMPLETED, "")
    assert trajectory.waits["pool"] > 0.3


@pytest.mark.parametrize("size", [1, 2, 64])
async def test_calls_behind_one_that_never_ends_do_not_stop_the_working_clock(size: int) -> None:
    """In a large pool all calls of the turn run at once, in a small one they queue behind the long one."""
    release = threading.Event()

    @tool
    def stay() -> str:
        """Stay until the test is over."""
        release.wait(60)
        return ""

    try:
        with ToolPool(size) as pool:
            trajectory = await rolled_out(
                calling("stay", "look", "look", "look"),
                tools=(stay, look),
                pool=pool,
                limits=Limits(working_timeout=0.2, timeout=30),
            )
    finally:
        release.set()
    assert failure(trajectory) == (StopReason.TIMEOUT, "")
    assert trajectory.cut is not None
    assert (trajectory.cut.where, trajectory.cut.clock) == ("tools", "working_timeout")


async def test_a_wait_of_the_client_is_no_working_time() -> None:
    async def slow(request: CompletionRequest) -> Completion:
        assert request.clock is not None
        with request.clock.waiting(WaitKind.AWAY):
            await asyncio.sleep(0.5)
        return Completion(content="done", finish_reason="stop")

    trajectory = await rolled_out(slow, limits=Limits(working_timeout=0.2))
    assert failure(trajectory) == (StopReason.COMPLETED, "")
    assert trajectory.waits["server_away"] > 0.2


async def test_a_server_that_stood_still_during_the_call_is_not_the_policys_fault() -> None:
    async def stalled(request: CompletionRequest) -> Completion:
        assert request.clock is not None
        with request.clock.waiting(WaitKind.STALL):
            await asyncio.sleep(0.05)
        return await hanging(request)

    trajectory = await rolled_out(calling("look"), stalled, tools=(look,), limits=Limits(working_timeout=0.2))
    assert failure(trajectory) == (StopReason.MODEL_ERROR, "NoReplyInTime")
    assert "stood still" in (trajectory.error.message if trajectory.error else "")


async def test_every_failed_try_is_on_record_also_of_a_call_that_was_cancelled() -> None:
    tried = asyncio.Event()

    async def failing(request: CompletionRequest) -> Completion:
        assert request.tried is not None
        request.tried.add(ServerUnreachable("connection refused"), 0.5)
        tried.set()
        return await hanging(request)

    trajectory = Trajectory(id="t", messages=[])
    task = asyncio.create_task(AgentLoop(Scripted(failing)).run(QUESTION, trajectory=trajectory))
    await tried.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (call,) = trajectory.calls
    assert (call.outcome, call.turn, call.server) == ("cancelled", 0, "http://scripted")
    assert [attempt.message for attempt in call.attempts] == ["connection refused"]


async def test_the_environments_own_code_is_no_working_time() -> None:
    """Where it looks into a sandbox, say, it takes as long as the machine is busy."""

    async def done(trajectory: Trajectory) -> bool:
        await asyncio.sleep(0.4)
        return False

    with ToolPool(1) as pool:
        loop = AgentLoop(
            Scripted(calling("look"), answering), tools=(look,), pool=pool, limits=Limits(working_timeout=0.3)
        )
        trajectory = await loop.run(QUESTION, done=done)
    assert failure(trajectory) == (StopReason.COMPLETED, "")


async def test_a_call_that_the_template_refused_is_on_record_as_rejected() -> None:
    async def refusing(request: CompletionRequest) -> Completion:
        raise BadRequest("the reply must have reasoning_content")

    trajectory = await rolled_out(refusing, answering)
    assert failure(trajectory) == (StopReason.COMPLETED, "")
    assert [(call.outcome, call.request_id) for call in trajectory.calls] == [
        ("rejected", f"{trajectory.id}-0")
    ]


async def test_a_call_that_overflowed_is_on_record() -> None:
    async def full(request: CompletionRequest) -> Completion:
        raise ContextOverflow("too long")

    trajectory = await rolled_out(full)
    assert trajectory.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert [call.outcome for call in trajectory.calls] == ["overflow"]


async def test_a_turn_keeps_the_id_of_its_reply() -> None:
    trajectory = await rolled_out(calling("look"), answering, tools=(look,))
    assert [turn.reply_id for turn in trajectory.turns] == ["chatcmpl-1", ""]
    assert trajectory.calls == []


async def test_a_clock_that_is_given_says_what_the_rollout_does() -> None:
    seen: list[str] = []
    clock = RolloutClock("mine")

    @tool
    def note() -> str:
        """Note what is done."""
        seen.append(clock.phase)
        return ""

    async def asked(request: CompletionRequest) -> Completion:
        seen.append(clock.phase)
        return await answering(request)

    with ToolPool(1) as pool:
        loop = AgentLoop(Scripted(calling("note"), asked), tools=(note,), pool=pool)
        await loop.run(QUESTION, clock=clock)
    assert seen == ["tools", "model"]
    assert clock.phase == ""
