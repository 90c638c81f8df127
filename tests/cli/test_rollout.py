"""``rollway rollout``: groups with advantages on the train split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rollway.cli import main
from rollway.evaluation import read_trajectories


def test_groups_of_the_train_split_with_advantages(
    environment_file: str, server_url: str, tmp_path: Path
) -> None:
    words = ["rollout", environment_file, "--base-url", server_url, "--samples", "2", "--workers", "0"]
    assert main([*words, "--out", "run"]) == 0
    found = list(read_trajectories(tmp_path / "run"))
    assert sorted(t.group_id or "" for t in found) == [f"train-{n}" for n in (0, 0, 1, 1, 2, 2)]
    assert {t.advantage for t in found} == {0.0}


def test_training_does_not_leave_the_distribution_to_the_server(
    complaint: Callable[..., str], environment_file: str
) -> None:
    said = complaint("rollout", environment_file, "--set", "sampling.defaults=server")
    assert "sampling.defaults: server leaves to the server how tokens are drawn" in said
