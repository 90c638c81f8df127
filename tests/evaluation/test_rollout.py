"""One rollout: the environment's faults end in the record, and teardown always runs."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from scripted_server import ScriptedRequest, ScriptedServer, hang, reply

from rollway import Environment, Limits, ToolOutput, ToolPool, tool
from rollway.evaluation.rollout import new_trajectory, run_rollout
from rollway.inference import ChatClient
from rollway.tools import Tool
from rollway.trajectory import StopReason, Trajectory, Turn

TASK = {"task_id": "t", "n": 1}


@tool
def look() -> str:
    """Look around."""
    return "nothing to see"


class Watched(Environment):
    """Notes what it is asked, and fails where it is told to."""

    rewards = (lambda trajectory, task: 1.0,)

    def __init__(self, fail: str = "", error: BaseException | None = None) -> None:
        self.fail, self.error = fail, error or KeyError("missing")
        self.asked: list[str] = []

    def _ask(self, hook: str) -> None:
        self.asked.append(hook)
        if hook == self.fail:
            raise self.error

    def prompt(self, task: Any) -> list[dict[str, Any]]:
        self._ask("prompt")
        return [{"role": "user", "content": "hello"}]

    async def setup(self, task: Any) -> str:
        self._ask("setup")
        return "workspace"

    def tools_for(self, task: Any, workspace: Any) -> list[Tool]:
        assert workspace == "workspace"
        self._ask("tools_for")
        return [look]

    def done(self, task: Any, workspace: Any, trajectory: Trajectory) -> bool:
        self._ask("done")
        return False

    async def teardown(self, task: Any, workspace: Any, trajectory: Trajectory | None) -> None:
        assert workspace == "workspace"
        self._ask("teardown")


@pytest.fixture
async def roll() -> AsyncIterator[Callable[..., Any]]:
    def look_first(request: ScriptedRequest) -> dict[str, Any]:
        looked = len(request.body["messages"]) > 1
        return reply("done") if looked else reply(tool_calls=[("look", {})])

    async with ScriptedServer(look_first) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(2) as pool:

                async def roll(environment: Environment, **options: Any) -> Trajectory:
                    return await run_rollout(environment, TASK, client=client, pool=pool, **options)

                yield roll


async def test_a_rollout_is_set_up_rolled_scored_and_torn_down(roll) -> None:
    environment = Watched()
    trajectory = await roll(environment)
    assert environment.asked == ["prompt", "setup", "tools_for", "done", "teardown"]
    assert (trajectory.stop_reason, trajectory.reward) == (StopReason.COMPLETED, 1.0)
    assert (trajectory.environment, trajectory.task_id) == ("Watched", "t")


@pytest.mark.parametrize("hook", ["prompt", "setup", "tools_for", "done"])
@pytest.mark.parametrize("error", [KeyError("missing"), SystemExit(3), asyncio.CancelledError()])
async def test_a_fault_of_the_environment_ends_in_the_record(roll, hook: str, error: BaseException) -> None:
    if hook == "done" and isinstance(error, asyncio.CancelledError):
        return  # `done` is no coroutine: what it raises is the caller's own cancelling
    environment = Watched(fail=hook, error=error)
    trajectory = await roll(environment)
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert trajectory.error is not None
    assert (trajectory.error.kind, trajectory.error.where) == (type(error).__name__, "environment")
    assert "test_rollout.py" in (trajectory.error.traceback or "")
    assert trajectory.reward is None
    assert ("teardown" in environment.asked) == (hook not in ("prompt", "setup"))


async def test_a_fault_of_teardown_costs_no_score(roll, caplog: pytest.LogCaptureFixture) -> None:
    trajectory = await roll(Watched(fail="teardown"))
    assert (trajectory.stop_reason, trajectory.reward, trajectory.error) == (StopReason.COMPLETED, 1.0, None)
    assert trajectory.metadata["teardown_error"] == "KeyError: 'missing'"
    assert "teardown of task 't'" in caplog.text


@pytest.mark.parametrize(
    ("reward", "kind"),
    [
        (lambda t, task: 1 / 0, "ZeroDivisionError"),
        (lambda t, task: float("nan"), "ValueError"),
        (lambda t, task: "1", "TypeError"),
    ],
)
async def test_a_reward_that_fails_is_not_a_zero(roll, reward: Any, kind: str) -> None:
    environment = Watched()
    environment.rewards = [reward]
    trajectory = await roll(environment)
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert trajectory.reward is None
    assert trajectory.error is not None
    assert (trajectory.error.kind, trajectory.error.where) == (kind, "reward:<lambda>")


async def test_hooks_that_hang_are_ended_by_the_rollouts_timeout(roll) -> None:
    class Hanging(Watched):
        async def setup(self, task: Any) -> str:
            await asyncio.Event().wait()
            return ""

    trajectory = await roll(Hanging(), limits=Limits(timeout=0.02))
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert trajectory.error is not None
    assert trajectory.error.kind == "TimeoutError"


async def test_a_reward_that_hangs_leaves_the_rollout_unscored(roll) -> None:
    async def judge(trajectory: Trajectory, task: Any) -> float:
        await asyncio.Event().wait()
        return 1.0

    environment = Watched()
    environment.rewards = [judge]
    for seconds in (0.2, 2.0, 20.0):  # the shortest in which this machine gets as far as the reward
        trajectory = await roll(environment, limits=Limits(timeout=seconds))
        if trajectory.stop_reason is StopReason.COMPLETED:
            break
    assert (trajectory.stop_reason, trajectory.reward) == (StopReason.COMPLETED, None)
    assert trajectory.error is not None
    assert trajectory.error.where.startswith("reward:")


async def test_cancelling_keeps_the_partial_record_and_tears_down() -> None:
    environment = Watched()
    async with ScriptedServer([reply(tool_calls=[("look", {})]), hang()]) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(2) as pool:
                record = new_trajectory(environment, TASK, seed=5, group_id="t")
                rollout = asyncio.create_task(
                    run_rollout(environment, TASK, client=client, pool=pool, trajectory=record)
                )
                await server.until(lambda s: len(s.requests) == 2)
                rollout.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await rollout
                await server.until(lambda s: s.aborted == 1)
    assert record.stop_reason is StopReason.CANCELLED
    assert len(record.turns) == 1
    assert record.messages[-1]["content"] == "nothing to see"
    assert environment.asked[-1] == "teardown"
    assert record.seed == 5


async def test_what_a_failed_model_call_ended_is_not_scored() -> None:
    async with ScriptedServer([]) as server, ChatClient(base_url=server.url, model="scripted") as client:
        with ToolPool(2) as pool:
            trajectory = await run_rollout(Watched(), TASK, client=client, pool=pool)
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert trajectory.reward is None


async def test_a_task_may_have_limits_of_its_own(roll) -> None:
    class Short(Watched):
        def limits_for(self, task: Any, limits: Limits) -> Limits:
            assert limits.max_turns == 7
            return Limits(max_turns=task["n"])

    trajectory = await roll(Short(), limits=Limits(max_turns=7))
    assert trajectory.stop_reason is StopReason.MAX_TURNS
    assert len(trajectory.turns) == 1


async def test_a_sync_hook_that_hangs_holds_up_no_other_rollout(roll) -> None:
    released = threading.Event()

    class Hanging(Watched):
        def prompt(self, task: Any) -> list[dict[str, Any]]:
            released.wait(60)
            return super().prompt(task)

    hung = asyncio.create_task(roll(Hanging(), limits=Limits(hook_timeout=0.2)))
    async with asyncio.timeout(60):
        assert (await roll(Watched())).reward == 1.0
        trajectory = await hung
    released.set()
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert trajectory.error is not None
    assert trajectory.error.message == "prompt did not return within 0.2 s, in rollout t/0"


async def test_a_sync_reward_that_hangs_costs_its_own_value_only(roll) -> None:
    released = threading.Event()

    def judge(trajectory: Trajectory, task: Any) -> float:
        released.wait(60)
        return 1.0

    def form(trajectory: Trajectory, task: Any) -> float:
        return 0.5

    environment = Watched()
    environment.rewards = [judge, form]  # type: ignore[assignment]
    async with asyncio.timeout(60):
        trajectory = await roll(environment, limits=Limits(hook_timeout=0.2))
    released.set()
    assert (trajectory.stop_reason, trajectory.reward) == (StopReason.COMPLETED, None)
    assert trajectory.rewards == {"form": 0.5}
    assert trajectory.error is not None
    assert (trajectory.error.kind, trajectory.error.where) == ("TimeoutError", "reward:judge")
    assert "within 0.2 s, in rollout t/0" in trajectory.error.message
    assert environment.asked[-1] == "teardown"


async def test_time_that_runs_out_while_done_is_asked_is_no_timeout_of_the_policy(roll) -> None:
    released = threading.Event()

    class Hanging(Watched):
        def done(self, task: Any, workspace: Any, trajectory: Trajectory) -> bool:
            released.wait(60)
            return False

    for seconds in (0.3, 3.0, 20.0):  # the shortest in which this machine gets as far as `done`
        trajectory = await roll(Hanging(), limits=Limits(timeout=seconds, hook_timeout=60.0))
        if trajectory.turns:
            break
    released.set()
    assert (trajectory.stop_reason, trajectory.reward) == (StopReason.ENVIRONMENT_ERROR, None)


async def test_a_sync_setup_and_teardown_run_in_a_thread(roll) -> None:
    threads: list[int] = []

    class Sync(Watched):
        def setup(self, task: Any) -> str:  # type: ignore[override]
            threads.append(threading.get_ident())
            return "workspace"

        def teardown(self, task: Any, workspace: Any, trajectory: Any) -> None:  # type: ignore[override]
            threads.append(threading.get_ident())

    assert (await roll(Sync())).reward == 1.0
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_each_rollout_has_its_own_copy_of_its_task(roll) -> None:
    class Boxing(Watched):
        async def setup(self, task: Any) -> str:
            task.setdefault("box", []).append("mine")
            await asyncio.sleep(0)
            return "workspace"

    def alone(trajectory: Trajectory, task: Any) -> bool:
        return task["box"] == ["mine"]

    environment = Boxing()
    environment.rewards = [alone]  # type: ignore[assignment]
    for trajectory in await asyncio.gather(*(roll(environment) for _ in range(4))):
        assert trajectory.reward == 1.0
    assert "box" not in TASK


async def test_done_is_asked_after_a_tool_that_stops_the_rollout() -> None:
    @tool
    def pay() -> ToolOutput:
        """Pay."""
        return ToolOutput("thank you", stop=True)

    class Shop(Watched):
        rewards = (lambda trajectory, task: trajectory.metadata["paid"],)

        def tools_for(self, task: Any, workspace: Any) -> list[Tool]:
            return [pay]

        def done(self, task: Any, workspace: Any, trajectory: Trajectory) -> bool:
            trajectory.metadata["paid"] = True
            return False

    async with ScriptedServer([reply(tool_calls=[("pay", {})])]) as server:
        async with ChatClient(base_url=server.url, model="scripted") as client:
            with ToolPool(2) as pool:
                trajectory = await run_rollout(Shop(), TASK, client=client, pool=pool)
    assert (trajectory.stop_reason, trajectory.reward) == (StopReason.TOOL_STOPPED, 1.0)


@pytest.mark.parametrize("change", ["append", "clear", "turns"])
async def test_done_cannot_change_the_conversation(roll, change: str) -> None:
    class Talking(Watched):
        def done(self, task: Any, workspace: Any, trajectory: Trajectory) -> bool:
            if change == "append":
                trajectory.messages.append({"role": "user", "content": "higher"})
            elif change == "clear":
                trajectory.messages.clear()
            else:
                trajectory.turns = []
            return False

    trajectory = await roll(Talking())
    assert trajectory.stop_reason is StopReason.ENVIRONMENT_ERROR
    assert trajectory.error is not None
    assert "done changed the conversation" in trajectory.error.message
    assert [message["role"] for message in trajectory.messages] == ["user", "assistant", "tool"]
    assert len(trajectory.turns) == 1


async def test_a_rollout_leaves_nothing_for_the_garbage_collector(roll) -> None:
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await roll(Watched())
        gc.collect()
        left = [one for one in gc.garbage if isinstance(one, Trajectory | Turn)]
        gc.garbage.clear()
    finally:
        gc.set_debug(0)
        gc.enable()
    assert left == []
