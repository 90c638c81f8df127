"""What scoring one trajectory promises: a number that every function gave, or none and the reason why."""

import asyncio
import math
from fractions import Fraction

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_trajectories import failed_trajectory, make_trajectory

from rollway.environments.base import Environment, Reward
from rollway.scoring import score_trajectory
from rollway.trajectory import FAILURES, ErrorRecord, StopReason, decode_trajectory, encode_trajectory

TASK = {"task_id": "t0", "answer": "5"}


def environment(*rewards):
    made = Environment()
    made.name = "made"
    made.rewards = rewards
    return made


async def scored(*rewards, trajectory=None):
    trajectory = trajectory or make_trajectory(reward=None)
    await score_trajectory(environment(*rewards), TASK, trajectory)
    return trajectory


def right(trajectory, task):
    return task["answer"] in trajectory.messages[-1]["content"]


async def economy(trajectory, task):
    await asyncio.sleep(0)
    return 1 / len(trajectory.turns)


def broken(trajectory, task):
    return task["no such column"]


async def test_the_reward_is_the_weighted_sum_of_sync_and_async_functions():
    trajectory = await scored(right, Reward(economy, weight=0.5), Reward(economy, weight=0.0, name="again"))
    assert trajectory.rewards == {"right": 1.0, "economy": 0.5, "again": 0.5}
    assert trajectory.reward == 1.25
    assert trajectory.error is None


async def test_a_bool_becomes_a_float():
    trajectory = await scored(right)
    assert type(trajectory.rewards["right"]) is float


@pytest.mark.parametrize(
    "value", [1, 0.25, True, Fraction(1, 2), numpy.float32(0.5), numpy.bool_(True), numpy.array(3)]
)
async def test_every_kind_of_real_number_is_taken(value):
    trajectory = await scored(lambda trajectory, task: value)
    assert trajectory.reward == float(value)
    assert decode_trajectory(encode_trajectory(trajectory)) == trajectory


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "TypeError"),
        ("1.0", "TypeError"),
        ([1.0], "TypeError"),
        (1j, "TypeError"),
        (numpy.array([1.0]), "TypeError"),
        (math.nan, "ValueError"),
        (math.inf, "ValueError"),
        (numpy.float64("nan"), "ValueError"),
        (10**400, "OverflowError"),
    ],
)
async def test_what_is_no_finite_number_leaves_the_rollout_unscored(value, kind):
    def odd(trajectory, task):
        return value

    trajectory = await scored(odd)
    assert (trajectory.reward, trajectory.rewards) == (None, {})
    assert (trajectory.error.kind, trajectory.error.where) == (kind, "reward:odd")


async def test_a_function_that_raises_is_no_zero_and_the_others_keep_their_values():
    trajectory = await scored(right, broken, economy)
    assert trajectory.reward is None
    assert trajectory.rewards == {"right": 1.0, "economy": 0.5}
    assert (trajectory.error.kind, trajectory.error.where) == ("KeyError", "reward:broken")
    assert 'return task["no such column"]' in trajectory.error.traceback


async def test_all_functions_that_failed_are_named():
    def worse(trajectory, task):
        raise RuntimeError("worse")

    trajectory = await scored(broken, worse)
    assert trajectory.error.where == "reward:broken"
    assert "worse (RuntimeError)" in trajectory.error.message


async def test_an_error_of_the_rollout_itself_is_not_lost_behind_that_of_a_reward():
    error = ErrorRecord(kind="ContextOverflow", message="too long", where="model")
    before = make_trajectory(reward=None, stop_reason=StopReason.CONTEXT_OVERFLOW, error=error)
    trajectory = await scored(broken, trajectory=before)
    assert "ContextOverflow: too long" in trajectory.error.message


@pytest.mark.parametrize("reason", sorted(FAILURES))
async def test_failed_rollouts_are_not_scored(reason):
    def never(trajectory, task):
        raise AssertionError("asked")

    trajectory = failed_trajectory(reason=reason)
    error = trajectory.error
    await scored(never, trajectory=trajectory)
    assert (trajectory.reward, trajectory.rewards, trajectory.error) == (None, {}, error)


@pytest.mark.parametrize("reason", sorted(set(StopReason) - FAILURES))
async def test_rollouts_that_reached_a_limit_are_scored(reason):
    trajectory = await scored(right, trajectory=make_trajectory(reward=None, stop_reason=reason))
    assert trajectory.reward == 1.0


async def test_scoring_again_replaces_what_was_there():
    trajectory = await scored(right, broken)
    await scored(economy, trajectory=trajectory)
    assert (trajectory.rewards, trajectory.reward, trajectory.error) == ({"economy": 0.5}, 0.5, None)


async def test_an_environment_without_rewards_leaves_the_rollout_unscored():
    trajectory = await scored()
    assert (trajectory.reward, trajectory.rewards, trajectory.error) == (None, {}, None)


async def test_two_rewards_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two rewards named 'right'"):
        await scored(right, right)


async def test_a_weighted_sum_beyond_floats_is_no_reward():
    big = Reward(lambda trajectory, task: 1e308, weight=10.0, name="big")
    trajectory = await scored(big)
    assert (trajectory.reward, trajectory.error.kind) == (None, "OverflowError")


async def test_cancelling_reaches_the_reward_function_and_is_not_a_reward_error():
    started, ended = asyncio.Event(), asyncio.Event()

    async def slow(trajectory, task):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    trajectory = make_trajectory(reward=None)
    running = asyncio.create_task(scored(slow, trajectory=trajectory))
    await asyncio.wait_for(started.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
    assert trajectory.error is None


async def test_a_function_whose_own_work_was_cancelled_is_a_reward_error():
    async def judged(trajectory, task):
        judge = asyncio.create_task(asyncio.Event().wait())
        judge.cancel()
        await judge

    trajectory = await scored(judged)
    assert trajectory.error.kind == "CancelledError"


async def test_a_function_that_calls_exit_ends_no_more_than_its_own_score():
    def leaves(trajectory, task):
        raise SystemExit(3)

    assert (await scored(leaves)).error.kind == "SystemExit"


async def test_the_record_of_an_endless_recursion_stays_small():
    def deep(trajectory, task):
        return deep(trajectory, task)

    trajectory = await scored(deep)
    assert trajectory.error.kind == "RecursionError"
    assert len(trajectory.error.traceback) <= 8_000


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=6))
def test_any_finite_values_and_weights_give_their_weighted_sum(pairs):
    rewards = [
        Reward(lambda trajectory, task, value=value: value, weight=weight, name=f"r{i}")
        for i, (value, weight) in enumerate(pairs)
    ]
    trajectory = asyncio.run(scored(*rewards))
    assert trajectory.reward == pytest.approx(sum(value * weight for value, weight in pairs))


async def test_a_function_that_asks_for_the_sandbox_gets_the_one_that_the_rollout_left():
    class Left:
        async def read(self, path):
            return {"answer.txt": b"5"}[path]

    async def written(trajectory, task, sandbox):
        return (await sandbox.read("answer.txt")).decode() == task["answer"]

    trajectory = make_trajectory(reward=None)
    await score_trajectory(environment(written, right), TASK, trajectory, Left())
    assert trajectory.rewards == {"written": 1.0, "right": 1.0}


async def test_without_a_sandbox_such_a_function_gives_no_score_and_never_0():
    def looks(trajectory, task, sandbox):
        return 0.0

    trajectory = await scored(looks, right)
    assert trajectory.reward is None
    assert trajectory.rewards == {"right": 1.0}
    assert trajectory.error is not None
    assert trajectory.error.kind == "NoSandbox"
    assert "--record-tools" in trajectory.error.message


async def test_a_weighted_sum_does_not_hang_on_the_last_bit():
    def full(trajectory, task):
        return 1.0

    rewards = [Reward(full, weight=weight, name=str(weight)) for weight in (0.7, 0.2, 0.1)]
    assert (await scored(*rewards)).reward == 1.0
    assert (await scored(*reversed(rewards))).reward == 1.0


async def test_a_sum_that_only_passes_beyond_floats_is_a_number():
    def big(trajectory, task):
        return 1.7e308

    rewards = [Reward(big, weight, name=str(i)) for i, weight in enumerate((1.0, 1.0, -1.0))]
    assert (await scored(*rewards)).reward == 1.7e308


def judged(trajectory, task):
    return {"exact": True, "format": numpy.float32(0.5)}


async def test_a_function_may_return_several_numbers_by_name():
    trajectory = await scored(Reward(judged, weight=2.0), right)
    assert trajectory.rewards == {"exact": 1.0, "format": 0.5, "right": 1.0}
    assert trajectory.reward == 2.0 * (1.0 + 0.5) + 1.0
    assert decode_trajectory(encode_trajectory(trajectory)) == trajectory


async def test_each_of_the_names_may_have_its_weight_and_one_without_is_a_metric():
    trajectory = await scored(Reward(judged, weight=0.5, weights={"exact": 1.0}))
    assert trajectory.rewards == {"exact": 1.0, "format": 0.5}
    assert trajectory.reward == 0.5


@pytest.mark.parametrize(
    ("returned", "weights", "told"),
    [
        ({}, None, "no number at all"),
        ({1: 1.0}, None, "the name 1"),
        ({"": 1.0}, None, "the name ''"),
        ({"exact": "yes"}, None, "'exact': a reward must be a number"),
        ({"exact": math.nan}, None, "'exact': a reward must be finite"),
        ({"right": 0.0}, None, "'right', which is the name of another reward"),
        ({"exact": 1.0}, {"format": 1.0}, "without 'format', which has a weight"),
        (1.0, {"format": 1.0}, "has weights for format, but returned one number"),
    ],
)
async def test_names_that_cannot_be_entered_leave_the_rollout_unscored(returned, weights, told):
    def odd(trajectory, task):
        return returned

    trajectory = await scored(right, Reward(odd, weights=weights))
    assert (trajectory.reward, trajectory.rewards) == (None, {"right": 1.0})
    assert trajectory.error.where == "reward:odd"
    assert told in trajectory.error.message
