"""``rollway chaos``: its table, its exit code, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollway.chaos.chaos import Chaos
from rollway.cli import main


@pytest.mark.parametrize(("held", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_tells_whether_every_promise_was_kept(
    held: bool,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Chaos] = []

    def run_chaos(chaos: Chaos, path: Path, console: object) -> bool:
        asked.append(chaos)
        return held

    monkeypatch.setattr("rollway.chaos.chaos.run_chaos", run_chaos)
    words = ["--rollouts", "70", "--workers", "0", "--seed", "9", "--faults", "replies.502,hooks"]
    assert main(["chaos", *words, "--rate", "replies=0.5", "--out", str(tmp_path / "runs")]) == code
    printed = capsys.readouterr().out
    assert ("every promise was kept" in printed) is held
    assert ("a promise was broken" in printed) is not held
    (chaos,) = asked
    assert (chaos.rollouts, chaos.workers, chaos.plan.seed) == (70, 0, 9)
    assert chaos.plan.rates == {"replies": 0.5, "hooks": 0.1}
    assert chaos.plan.kinds_of("replies") == ["502"]


def test_a_fault_that_nobody_knows_is_refused(complaint: Callable[..., str]) -> None:
    told = complaint("chaos", "--faults", "replys")
    assert told.startswith("--faults: no fault is named 'replys' (did you mean 'replies'?)")


def test_a_rate_that_is_none_is_refused(complaint: Callable[..., str]) -> None:
    assert complaint("chaos", "--rate", "replies=2").startswith("--rate replies=2: the rate of replies must")
    assert complaint("chaos", "--rate", "replies").startswith("--rate replies: give GROUP=RATE")
    assert "'much' is no number" in complaint("chaos", "--rate", "replies=much")


def test_a_rate_of_a_group_that_is_left_out_is_refused(complaint: Callable[..., str]) -> None:
    told = complaint("chaos", "--faults", "hooks", "--rate", "replies=0.1")
    assert told.startswith("--rate replies: --faults hooks leaves this group out")


def test_faults_of_workers_without_workers_are_refused(complaint: Callable[..., str]) -> None:
    assert complaint("chaos", "--faults", "workers", "--workers", "0").startswith(
        "--faults workers: there are"
    )


def test_a_scenario_that_nobody_knows_is_refused(complaint: Callable[..., str]) -> None:
    assert "no scenario is named 'awy' (did you mean 'away'?)" in complaint("chaos", "--scenario", "awy")


def test_a_folder_that_holds_something_is_refused(tmp_path: Path, complaint: Callable[..., str]) -> None:
    (tmp_path / "mine").write_text("")
    assert complaint("chaos", "--out", str(tmp_path)).endswith("is not empty; give a new folder")
