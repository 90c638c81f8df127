"""A run that sends ids and gets ids, end to end on the embedded server."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rollway.errors import UserError
from rollway.evaluation import evaluate
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run_directory import read_trajectories
from rollway.sequences import whole_prompts
from rollway.trajectory import PromptFit


def config(out: Path, **model: object) -> EvalConfig:
    fields = {"environment": "calculator", "tasks": 12, "workers": 0, "out": str(out)}
    return EvalConfig(**fields, model={"backend": "token", **model})


def test_a_run_by_ids_loses_no_sampled_token(tmp_path: Path) -> None:
    summary = evaluate(msgspec.structs.replace(config(tmp_path / "run"), reasoning_parser="auto"))
    assert summary.scored == summary.asked == 12
    assert summary.mean_reward is not None
    assert summary.mean_reward.mean > 0.5
    for trajectory in read_trajectories(tmp_path / "run"):
        (sequence,) = trajectory.sequences
        assert sum(sequence.loss_mask) == sum(len(turn.token_ids or []) for turn in trajectory.turns)
        assert [turn.prompt_fit for turn in trajectory.turns[1:]] == [PromptFit.EXTENDED] * (
            len(trajectory.turns) - 1
        )
        assert None not in list(whole_prompts(trajectory.turns))


def test_a_folder_that_is_none_is_told_before_a_rollout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no chat_template"):
        evaluate(config(tmp_path / "run", folder=str(tmp_path)))
