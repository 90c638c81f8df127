"""What a summary promises: every rollout asked for is counted once, and no number is made up."""

import itertools
import math
import tracemalloc
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_trajectories import (
    failed_trajectory,
    make_trajectory,
    trajectory_with_tool_error,
    unscored_trajectory,
)

from rollway.evaluation.summary import (
    RunSummary,
    SummaryBuilder,
    failure_kind,
    read_summary,
    summarize,
    write_summary,
)
from rollway.evaluation.tallies import MOST_NAMES, OTHER, Numbers
from rollway.statistics import clustered_mean
from rollway.trajectory import (
    StopReason,
    ToolCall,
    ToolError,
    ToolErrorKind,
    TrajectoryTiming,
    Turn,
    TurnTiming,
    Usage,
)

OUTCOMES = ["scored", "model", "environment", "reward", "cancelled", "suspended", "bare", "missing"]


def outcome(kind, task_id, sample_index):
    if kind == "scored":
        return make_trajectory(task_id, sample_index, reward=sample_index % 2)
    if kind == "reward":
        return unscored_trajectory(task_id, sample_index)
    if kind == "bare":
        return make_trajectory(task_id, sample_index, reward=None)
    reasons = {
        "model": StopReason.MODEL_ERROR,
        "environment": StopReason.ENVIRONMENT_ERROR,
        "cancelled": StopReason.CANCELLED,
        "suspended": StopReason.SUSPENDED,
    }
    return failed_trajectory(task_id, sample_index, reason=reasons[kind])


@settings(max_examples=50)
@given(st.integers(1, 4), st.data())
def test_every_rollout_asked_for_is_scored_failed_or_missing(samples, data):
    tasks = data.draw(st.integers(0, 5))
    kinds = data.draw(st.lists(st.sampled_from(OUTCOMES), min_size=tasks * samples, max_size=tasks * samples))
    places = itertools.product(range(tasks), range(samples))
    records = [
        outcome(kind, f"t{task}", sample)
        for kind, (task, sample) in zip(kinds, places, strict=True)
        if kind != "missing"
    ]
    summary = summarize(records, asked=tasks * samples, samples=samples)
    assert summary.asked == summary.scored + summary.failed + summary.missing
    assert summary.finished == summary.scored + summary.failed == len(records)
    assert summary.failed == sum(summary.failures.values())
    assert summary.missing == kinds.count("missing")
    assert sum(summary.stop_reasons.values()) == summary.finished
    assert sum(bar.count for bar in summary.reward_histogram) == summary.scored
    if summary.asked:
        assert summary.mean_reward_of_asked.n == summary.asked


@pytest.mark.parametrize(
    ("trajectory", "kind"),
    [
        (make_trajectory(), None),
        (make_trajectory(stop_reason=StopReason.MAX_TURNS), None),
        (failed_trajectory(), "model_error: ServerUnreachable"),
        (
            failed_trajectory(reason=StopReason.ENVIRONMENT_ERROR, kind="KeyError"),
            "environment_error: KeyError",
        ),
        (failed_trajectory(reason=StopReason.CANCELLED), "cancelled"),
        (make_trajectory(stop_reason=StopReason.SUSPENDED), "suspended"),
        (unscored_trajectory(), "reward_error: right: KeyError"),
        (make_trajectory(reward=None), "not_scored"),
    ],
)
def test_each_failure_has_a_kind(trajectory, kind):
    assert failure_kind(trajectory) == kind


def test_failed_rollouts_leave_the_mean_and_count_as_zero_in_the_score_over_all_that_were_asked():
    records = [
        make_trajectory("a", 0, 1.0),
        make_trajectory("a", 1, 1.0),
        make_trajectory("b", 0, 0.5),
        failed_trajectory("b", 1),
    ]
    summary = summarize(records, asked=6, samples=2)  # task c is missing altogether
    assert summary.mean_reward == clustered_mean([[1.0, 1.0], [0.5]])
    assert summary.mean_reward_of_asked == clustered_mean([[1.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
    assert summary.missing == 2


def test_a_score_on_a_failed_rollout_is_not_counted():
    summary = summarize([make_trajectory(stop_reason=StopReason.CANCELLED)], asked=1, samples=1)
    assert (summary.scored, summary.failures, summary.mean_reward) == (0, {"cancelled": 1}, None)


def test_a_missing_task_makes_the_pass_rates_none_and_is_counted_as_lacking():
    records = [make_trajectory("a", i, 1.0) for i in range(2)]
    summary = summarize(records, asked=4, samples=2)
    assert [(rate.k, rate.pass_at_k, rate.lacking) for rate in summary.pass_rates] == [
        (1, None, 1),
        (2, None, 1),
    ]


def test_a_sample_passes_from_the_threshold_on():
    records = [make_trajectory("a", i, reward) for i, reward in enumerate([0.49, 0.5, 1.0])]
    (one, *_) = summarize(records, asked=3, samples=3, pass_threshold=0.5).pass_rates
    assert one.pass_at_k.mean == pytest.approx(2 / 3)


def test_each_reward_function_has_its_own_mean_over_the_rollouts_it_scored():
    records = [
        make_trajectory("a", 0, 1.0, rewards={"right": 1.0, "form": 0.5}),
        make_trajectory("b", 0, 0.0, rewards={"right": 0.0}),
    ]
    summary = summarize(records, asked=2, samples=1)
    assert summary.rewards["right"].mean == 0.5
    assert (summary.rewards["form"].mean, summary.rewards["form"].n) == (0.5, 1)


def test_turns_tokens_tools_retries_and_versions_are_counted():
    first = trajectory_with_tool_error("a")
    first.turns[1].weight_version = "v2"
    second = make_trajectory("b")
    second.turns[0].usage = Usage(prompt_tokens=10, completion_tokens=3, cached_tokens=8)
    second.turns[0].timing = TurnTiming(first_token=0.05, total=0.5)
    summary = summarize([first, second], asked=2, samples=1, wall_seconds=4.0)
    assert (summary.turns, summary.tool_calls, summary.tool_calls_by_tool) == (4, 2, {"add": 2})
    assert summary.tool_errors == {"add": {"invalid_arguments": 1}}
    assert (summary.prompt_tokens, summary.completion_tokens, summary.cached_tokens) == (60, 10, 8)
    assert summary.tokens_per_second == 2.5
    assert (summary.retries, summary.retries_by_error) == (1, {"ServerOverloaded": 1})
    assert summary.weight_versions == {"v2": 1}
    assert (summary.turn_seconds.n, summary.turn_seconds.max) == (4, 0.5)
    assert (summary.first_token_seconds.n, summary.first_token_seconds.p50) == (1, 0.05)
    assert summary.rollout_seconds.mean == 1.0
    assert (summary.models, summary.environments) == (["tiny"], ["calculator"])


def test_what_no_server_said_is_none():
    summary = summarize([make_trajectory()], asked=1, samples=1)
    assert summary.cached_tokens is None
    assert summary.first_token_seconds is None
    assert summary.wall_seconds is None
    assert summary.tokens_per_second is None


def test_an_empty_run_has_a_summary_without_numbers():
    summary = summarize([], asked=0, samples=1)
    assert (summary.asked, summary.mean_reward, summary.mean_reward_of_asked) == (0, None, None)
    assert summary.turn_seconds is None


def test_a_rollout_added_twice_is_refused():
    builder = SummaryBuilder()
    builder.add(make_trajectory("a", 1))
    with pytest.raises(ValueError, match="'a'/1 was added twice"):
        builder.add(make_trajectory("a", 1))


@pytest.mark.parametrize(("asked", "samples"), [(1, 1), (2, 1), (3, 2)])
def test_more_on_record_than_was_asked_for_is_refused(asked, samples):
    builder = SummaryBuilder()
    for place in [("a", 0), ("a", 1), ("b", 0)]:
        builder.add(make_trajectory(*place))
    with pytest.raises(ValueError, match=r"requested|asked \(3\) must be"):
        builder.build(asked=asked, samples=samples)


def test_numbers_so_far_are_there_at_any_moment():
    builder = SummaryBuilder()
    assert builder.mean_reward is None
    builder.add(make_trajectory("a", 0, 1.0))
    builder.add(failed_trajectory("a", 1))
    builder.add(make_trajectory("b", 0, 0.0))
    assert (builder.finished, builder.scored, builder.failed) == (3, 2, 1)
    assert (builder.mean_reward, builder.completion_tokens) == (0.5, 10)


def test_invented_tool_names_do_not_grow_the_summary_without_bound():
    trajectory = make_trajectory()
    names = [f"tool{i}" for i in range(MOST_NAMES + 50)]
    trajectory.turns = [Turn(index=0, tool_calls=[ToolCall(name, name, "{}") for name in names])]
    trajectory.tool_errors = [ToolError(1, name, "{}", ToolErrorKind.UNKNOWN_TOOL, "", "") for name in names]
    summary = summarize([trajectory], asked=1, samples=1)
    assert len(summary.tool_errors) == len(summary.tool_calls_by_tool) == MOST_NAMES + 1
    assert summary.tool_errors[OTHER] == {"unknown_tool": 50}
    assert summary.tool_calls == len(names)


@given(st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), min_size=1, max_size=60))
def test_a_histogram_holds_every_value_once(values):
    numbers = Numbers()
    for value in values:
        numbers.add(value)
    bars = numbers.histogram()
    assert sum(bar.count for bar in bars) == len(values)
    assert (bars[0].low, bars[-1].high) == (min(values), pytest.approx(max(values)))
    assert len(bars) <= 20
    if len(set(values)) <= 20:
        assert {bar.low: bar.count for bar in bars} == Counter(values)


def test_a_summary_reads_back_equal_and_leaves_no_partial_file(tmp_path):
    records = [trajectory_with_tool_error("a"), failed_trajectory("b")]
    summary = summarize(records, asked=4, samples=2, wall_seconds=1.5)
    path = tmp_path / "summary.json"
    write_summary(path, summary)
    write_summary(path, summary)
    assert read_summary(path) == summary
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_a_file_that_is_no_summary_is_refused(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text('{"asked": 3}')
    with pytest.raises(msgspec.DecodeError):
        read_summary(path)


def test_memory_does_not_grow_with_the_size_of_the_trajectories():
    def long_rollouts():
        for i in range(200):
            turns = [Turn(index=0, token_ids=list(range(1000, 6000)), content="word " * 2000)]
            yield make_trajectory(f"t{i}", turns=turns, timing=TrajectoryTiming(total=1.0))

    tracemalloc.start()
    try:
        summary = summarize(long_rollouts(), asked=200, samples=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(summary, RunSummary)
    assert peak < 5_000_000  # the trajectories together are over 40 MB


@pytest.mark.parametrize("value", [1e200, 1.7e308, -1.7e308])
def test_a_run_of_huge_rewards_has_a_summary_that_is_read_back(tmp_path, value):
    tasks = [(f"t{n}", sample, value * (1 - n % 3)) for n in range(30) for sample in range(2)]
    records = [make_trajectory(task, sample, reward) for task, sample, reward in tasks]
    builder = SummaryBuilder(pass_threshold=1e200)
    for record in records:
        builder.add(record)
    assert math.isfinite(builder.mean_reward)
    summary = builder.build(asked=62, samples=2)
    write_summary(tmp_path / "summary.json", summary)
    assert read_summary(tmp_path / "summary.json") == summary
    assert b"Infinity" not in (tmp_path / "summary.json").read_bytes()
    for estimate in (summary.mean_reward, summary.mean_reward_of_asked, summary.rewards["right"]):
        assert math.isfinite(estimate.mean)
        assert estimate.low is not None or "beyond the range" in estimate.note


def test_many_different_huge_rewards_have_a_histogram():
    rewards = [1.7e308 * (n / 50 - 1) for n in range(100)]
    records = [make_trajectory(f"t{n}", 0, reward) for n, reward in enumerate(rewards)]
    bins = summarize(records, asked=100, samples=1).reward_histogram
    assert sum(bin.count for bin in bins) == 100
    assert all(math.isfinite(bin.low) and math.isfinite(bin.high) for bin in bins)


def test_the_means_do_not_hang_on_the_order_in_which_rollouts_ended():
    records = [make_trajectory("t", sample, 0.1 * sample) for sample in range(9)]
    once = summarize(records, asked=9, samples=9)
    assert summarize(records[::-1], asked=9, samples=9).mean_reward == once.mean_reward


def test_a_reward_that_is_the_threshold_but_for_rounding_passed():
    summary = summarize([make_trajectory(reward=0.7 + 0.2 + 0.1)], asked=1, samples=1)
    assert summary.pass_rates[0].pass_at_k.mean == 1.0
