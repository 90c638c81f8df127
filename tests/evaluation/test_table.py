"""What a person sees at the end of a run: everything on at most 80 columns, with what weakens the score."""

import io

import pytest
from rich.console import Console
from sample_trajectories import (
    failed_trajectory,
    make_trajectory,
    trajectory_with_tool_error,
    unscored_trajectory,
)

from rollway.evaluation.summary import summarize
from rollway.evaluation.table import MOST_ROWS, print_table
from rollway.trajectory import ToolError, ToolErrorKind


def printed(summary, *, width=80, terminal=False):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    print_table(summary, console)
    return console.file.getvalue()


@pytest.fixture
def records():
    return [
        make_trajectory("a", 0, 1.0),
        trajectory_with_tool_error("a", 1, reward=0.5),
        failed_trajectory("b", 0),
        unscored_trajectory("b", 1),
    ]


@pytest.fixture
def summary(records):
    return summarize(records, asked=6, samples=2, wall_seconds=10.0)


def test_failed_and_missing_rollouts_stand_beside_the_score(summary):
    text = printed(summary)
    assert "2 scored, 2 failed, 2 missing" in text
    assert "1 failed: model_error: ServerUnreachable" in text
    assert "1 failed: reward_error: right: KeyError" in text
    assert "0.750" in text
    assert "counting 4 failed or missing as 0" in text


def test_a_pass_rate_that_is_not_known_is_a_dash_with_the_reason(summary):
    text = printed(summary)
    assert "k=2 is unknown: 2 of 3 tasks have fewer scored samples" in text
    (line,) = [line for line in text.splitlines() if "pass@k" in line]
    assert line.split()[-2:] == ["-", "-"]


def test_tool_errors_retries_and_tokens_are_told(summary):
    text = printed(summary)
    assert "1 add: invalid_arguments" in text
    assert "1 ServerOverloaded" in text
    assert "15 sampled, 90 in prompts" in text


def test_where_there_is_no_terminal_the_text_is_plain(summary):
    assert "\x1b" not in printed(summary)
    assert "\x1b" in printed(summary, terminal=True)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_longer_than_80_columns_or_the_terminal(records, width):
    records[0].environment = (
        "an-environment-with-a-name-that-is-very-much-longer-than-any-line-should-ever-be-" * 2
    )
    records[0].rewards = {"a_reward_function_whose_name_its_author_was_proud_of_and_never_had_to_type": 1.0}
    text = printed(summarize(records, asked=4, samples=2), width=width)
    assert max(len(line) for line in text.splitlines()) <= min(width, 80)


def test_names_that_look_like_markup_are_printed_as_they_are():
    trajectory = make_trajectory(model="[bold]odd[/]", environment="[link=x]")
    assert "[link=x] · [bold]odd[/]" in printed(summarize([trajectory], asked=1, samples=1))


def test_long_lists_are_cut_and_the_rest_is_counted():
    trajectory = make_trajectory()
    trajectory.tool_errors = [
        ToolError(1, f"tool{i}", "{}", ToolErrorKind.UNKNOWN_TOOL, "", "") for i in range(MOST_ROWS + 5)
    ]
    assert "5 of 5 other kinds" in printed(summarize([trajectory], asked=1, samples=1))


def test_an_empty_run_prints_a_table_too():
    text = printed(summarize([], asked=4, samples=2))
    assert "none: no rollout was scored" in text
    assert "4 missing" in text


def test_one_task_has_a_mean_and_says_why_it_has_no_interval():
    assert "1.000 (no interval: one task)" in printed(summarize([make_trajectory()], asked=1, samples=1))
