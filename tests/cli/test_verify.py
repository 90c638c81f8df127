"""`rollway verify`: what it prints, its exit codes, and one line for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rollway.cli import main
from rollway.evaluation import evaluate, load_config
from rollway.trajectory import decode_trajectory, encode_trajectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "calculator"
    evaluate(load_config("calculator", {"tasks": 4, "samples": 1, "workers": 0, "out": str(path)}))
    return path


@pytest.fixture
def copy_of(run: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the run whose trajectories were put through a function."""

    def copy(change: Callable) -> Path:
        target = tmp_path / "copy"
        (target / "trajectories").mkdir(parents=True)
        (target / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
        lines = []
        for line in (run / "trajectories" / "part-00000.jsonl").read_bytes().splitlines():
            trajectory = decode_trajectory(line)
            change(trajectory)
            lines.append(encode_trajectory(trajectory) + b"\n")
        (target / "trajectories" / "part-00000.jsonl").write_bytes(b"".join(lines))
        return target

    return copy


def test_a_sound_run_exits_0_and_is_told_of(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(run), "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "0 mismatches" in printed
    assert printed.split()[-2:] == ["verdict", "sound"]
    assert max(len(line) for line in printed.splitlines()) <= 80
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["trajectories"] == 4
    assert written["differences"]["tokens"] == written["sampled_tokens"] > 100
    assert written["mismatches"] == {}
    assert written["drawn"]["tokens"] == written["sampled_tokens"]
    assert written["drawn"]["suspicion"] is None
    assert "beyond top_k 20" in printed


def make_less_likely(trajectory) -> None:
    """Record the first turn's last token half a nat too low, in both places where it stands."""
    turn, sequence = trajectory.turns[0], trajectory.sequences[0]
    sampled = [place for place, mask in enumerate(sequence.loss_mask) if mask]
    turn.logprobs[-1] -= 0.5
    sequence.logprobs[sampled[len(turn.logprobs) - 1]] -= 0.5


def test_a_logprob_that_is_not_the_policys_exits_1(
    copy_of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(make_less_likely)
    assert main(["verify", str(run)]) == 1
    printed = capsys.readouterr().out
    assert "largest difference 0.5 exceeds the limit 0.0001" in " ".join(printed.split())
    assert "worst" in printed
    assert main(["verify", str(run), "--max-difference", "0.6", "--mean-difference", "0.1"]) == 0
    assert "(limit 0.6)" in capsys.readouterr().out


def test_a_context_that_is_not_the_prompt_exits_1_whatever_the_bounds(
    copy_of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def damage(trajectory) -> None:
        trajectory.sequences[0].token_ids[3] += 1

    loose = ["--max-difference", "1e9", "--mean-difference", "1e9", "--p99-difference", "1e9"]
    assert main(["verify", str(copy_of(damage)), *loose]) == 1
    assert "other_context" in capsys.readouterr().out


def test_no_such_run(complaint: Callable[..., str], run: Path) -> None:
    assert "no run directory" in complaint("verify", str(run.with_name("calculater")))
    assert "did you mean 'calculator'" in complaint("verify", str(run.with_name("calculater")))


def test_a_run_without_token_ids(complaint: Callable[..., str], copy_of: Callable[..., Path]) -> None:
    def strip(trajectory) -> None:
        trajectory.sequences = []
        for turn in trajectory.turns:
            turn.token_ids = turn.logprobs = turn.prompt_token_ids = None
            turn.untrainable = "no_token_ids"

    assert "has no token ids" in complaint("verify", str(copy_of(strip)))


def test_a_run_of_which_nothing_can_be_trained_on(
    complaint: Callable[..., str], copy_of: Callable[..., Path]
) -> None:
    def strip(trajectory) -> None:
        trajectory.sequences = []
        for turn in trajectory.turns:
            turn.prompt_token_ids = None
            turn.untrainable = "no_prompt_token_ids"

    assert "no_prompt_token_ids" in complaint("verify", str(copy_of(strip)))


def test_a_server_without_prompt_logprobs(complaint: Callable[..., str], run: Path, server_url: str) -> None:
    said = complaint("verify", str(run), "--base-url", server_url, "--model", "scripted")
    assert f"{server_url} does not return prompt logprobs" in said


def test_a_server_that_is_not_there(complaint: Callable[..., str], run: Path) -> None:
    assert "no server at" in complaint("verify", str(run), "--base-url", "http://127.0.0.1:9")


def test_a_model_that_the_server_has_not(complaint: Callable[..., str], run: Path, server_url: str) -> None:
    assert "available: scripted" in complaint("verify", str(run), "--base-url", server_url)


def test_a_file_that_cannot_be_written(complaint: Callable[..., str], run: Path, tmp_path: Path) -> None:
    file = tmp_path / "no" / "out.json"
    assert f"no folder {file.parent}" in complaint("verify", str(run), "--json", str(file))
    assert f"{tmp_path} is a folder" in complaint("verify", str(run), "--json", str(tmp_path))


def test_a_disk_that_is_full_at_the_end_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run), "--json", "/dev/full"]) == 2
    seen = capsys.readouterr()
    assert "sound" in seen.out
    assert seen.err == "rollway: cannot write --json /dev/full: No space left on device\n"


def test_tokens_that_were_drawn_otherwise_than_recorded_exit_1(
    copy_of: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The policy is sure of most tokens; at twice the temperature it would be far less so."""

    def claim(trajectory) -> None:
        trajectory.sampling = trajectory.sampling | {"temperature": 4.0}

    run = copy_of(claim)
    assert main(["verify", str(run)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "verdict not drawn from the distribution on record: a surprise of" in printed
    assert "worst" not in printed
    assert main(["verify", str(run), "--likeliest", "0"]) == 0
    assert "not tested: no likeliest tokens asked for or given" in " ".join(capsys.readouterr().out.split())
