"""Tracking with the real wandb, offline: all numbers and samples are there, and no fault of it ends a run."""

import json
import logging
import re
import time

import pytest
from sample_trajectories import failed_trajectory, make_trajectory, trajectory_with_tool_error

from rollway.errors import UserError
from rollway.evaluation.samples import Sample, SampleChooser, Why
from rollway.evaluation.summary import summarize
from rollway.evaluation.tracking import SAMPLE_COLUMNS, Tracker, flat_numbers, sample_row, start_tracking


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path_factory):
    """No login and no settings of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(home / "wandb"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def records():
    return [
        make_trajectory("a", 0, 1.0),
        trajectory_with_tool_error("b", 0, reward=0.5),
        failed_trajectory("c", 0),
    ]


@pytest.fixture
def summary(records):
    return summarize(records, asked=4, samples=1, wall_seconds=2.0)


@pytest.fixture
def samples(records):
    chooser = SampleChooser()
    for record in records:
        chooser.add(record)
    return chooser.chosen()


def test_an_offline_run_holds_progress_summary_and_samples_inside_the_run_directory(
    tmp_path, summary, samples
):
    run_directory = tmp_path / "calculator-1"
    run_directory.mkdir()
    tracker = start_tracking(run_directory, project="rollway", config={"samples": 1}, mode="offline")
    assert tracker.place.startswith(str(run_directory))
    tracker.log({"rollouts/done": 2, "score/so_far": None})
    tracker.finish(summary, samples)

    (log,) = run_directory.glob("wandb/offline-run-*/run-*.wandb")
    written = b""
    missing = {"rollouts/done", *flat_numbers(summary)}
    deadline = time.monotonic() + 60
    while missing and time.monotonic() < deadline:  # wandb's own process writes the end of it a little later
        time.sleep(0.05)
        written = joined_chunks(log.read_bytes())
        missing = {name for name in missing if name.encode() not in written}
    assert not missing
    assert b"score/so_far" not in written
    (table,) = run_directory.glob("wandb/offline-run-*/files/media/table/samples_*.table.json")
    stored = json.loads(table.read_text())
    assert stored["columns"] == SAMPLE_COLUMNS
    assert sorted(row[1] for row in stored["data"]) == ["a", "b", "c"]


def joined_chunks(log: bytes) -> bytes:
    """What stands in wandb's log, without the heads of chunks: a name may lie on either side of one.

    The format is LevelDB's: blocks of 32 KiB, chunks with a head of 7 bytes, here after a head of the file.
    """
    block, head, position, joined = 32_768, 7, 7, b""
    while position < len(log):
        if (left := block - position % block) < head:
            position += left
            continue
        size = int.from_bytes(log[position + 4 : position + 6], "little")
        joined += log[position + head : position + head + size]
        position += head + size
    return joined


def test_a_run_that_is_gone_on_with_is_tracked_under_the_same_id(tmp_path):
    ids = set()
    for _ in range(2):
        tracker = start_tracking(tmp_path, project="rollway", config={}, mode="offline")
        ids.add(re.search(r"offline-run-[0-9_]+-([0-9a-f]{12})", tracker.place)[1])
        tracker.close()
    assert len(ids) == 1


def test_a_missing_login_is_one_line_at_the_start(tmp_path):
    with pytest.raises(UserError, match=r"wandb cannot start: .*offline") as caught:
        start_tracking(tmp_path, project="rollway", config={}, mode="online")
    assert "\n" not in str(caught.value)


class BrokenRun:
    offline, url = False, "http://tracked"

    def __init__(self):
        self.calls = 0

    def log(self, numbers):
        self.calls += 1
        raise ConnectionError("gone")


def test_a_fault_in_mid_run_is_one_warning_and_the_end_of_tracking_only(caplog, summary, samples):
    run = BrokenRun()
    tracker = Tracker(run)
    with caplog.at_level(logging.WARNING):
        tracker.log({"n": 1})
        tracker.log({"n": 2})
        tracker.finish(summary, samples)
        tracker.close()
    assert run.calls == 1
    (warning,) = caplog.records
    assert "ConnectionError: gone" in warning.getMessage()


def test_the_numbers_are_those_of_the_summary(summary):
    numbers = flat_numbers(summary)
    assert numbers["score/mean_reward"] == summary.mean_reward.mean
    assert numbers["score/mean_reward/low"] == summary.mean_reward.low
    assert numbers["rollouts/missing"] == 1
    assert numbers["failures/model_error: ServerUnreachable"] == 1
    assert numbers["tool_errors/add/invalid_arguments"] == 1
    assert numbers["seconds/turn/p90"] == summary.turn_seconds.p90
    assert "pass@1" not in numbers  # a task has no scored sample
    assert None not in numbers.values()


def test_a_row_of_samples_tells_what_happened():
    row = dict(zip(SAMPLE_COLUMNS, sample_row(Sample(Why.FAILED, failed_trajectory("f"))), strict=True))
    assert (row["why"], row["reward"], row["error"]) == ("failed", None, "ServerUnreachable: no answer")
    assert "[user]\nWhat is 2 + 3?" in row["conversation"]
    assert '[assistant]\nI should add.\nadd({"a": 2, "b": 3})' in row["conversation"]
