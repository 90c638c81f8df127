"""A real run of the calculator: scored again it gives what was recorded, and its summary is what a plain
count over its files gives."""

import json
import statistics

import pytest

from rollway.evaluation import evaluate, load_config
from rollway.scoring import score_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "calculator"
    summary = evaluate(load_config("calculator", {"tasks": 6, "samples": 3, "workers": 0, "out": str(path)}))
    return path, summary


def records_of(path):
    return [json.loads(line) for part in path.glob("trajectories/*.jsonl") for line in part.open()]


def test_the_summary_is_what_a_plain_count_gives(run):
    path, summary = run
    records = records_of(path)
    turns = [turn for record in records for turn in record["turns"]]
    assert (summary.asked, summary.finished, summary.scored) == (18, len(records), len(records))
    assert summary.mean_reward.mean == pytest.approx(statistics.fmean(record["reward"] for record in records))
    assert summary.turns == len(turns)
    assert summary.completion_tokens == sum(len(turn["token_ids"]) for turn in turns)
    assert summary.tool_calls == sum(len(turn.get("tool_calls", [])) for turn in turns)
    passed = [
        sum(r["reward"] >= 1 for r in records if r["task_id"] == task)
        for task in {r["task_id"] for r in records}
    ]
    assert summary.pass_rates[-1].k == 3
    assert summary.pass_rates[-1].pass_at_k.mean == pytest.approx(statistics.fmean(c > 0 for c in passed))
    assert summary.pass_rates[-1].pass_hat_k.mean == pytest.approx(statistics.fmean(c == 3 for c in passed))


def test_scored_again_it_gives_what_was_recorded(run):
    path, summary = run
    score = score_run(path)
    assert score.mean_reward == summary.mean_reward
    assert score.mean_reward_of_asked == summary.mean_reward_of_asked
    assert score.rewards == summary.rewards
    assert (score.scored, score.missing, score.torn_lines) == (18, 0, 0)
    (comparison,) = score.comparisons
    assert (comparison.difference.mean, comparison.difference.n) == (0.0, 18)
    rows = [json.loads(line) for line in (path / "scores" / "environment.jsonl").open()]
    recorded = {record["id"]: record["rewards"] for record in records_of(path)}
    assert {row["trajectory_id"]: row["rewards"] for row in rows} == recorded


def test_the_report_shows_rollouts_of_the_run(run):
    path, _ = run
    html = (path / "report.html").read_text()
    assert html.count("<details>") == 18
    assert "The answer is" in html
