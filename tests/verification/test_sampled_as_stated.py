"""A policy whose folder cuts the distribution: a run says how it draws, or is found out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollway.embedded.policy import find_policy
from rollway.evaluation import RunSummary, evaluate, load_config
from rollway.evaluation.run_directory import read_config, read_trajectories
from rollway.inference.launch import launch_embedded_sync
from rollway.inference.sampling_fields import NEUTRAL
from rollway.verification import verify_run

CUT = {"top_k": 2, "top_p": 0.8}


@pytest.fixture(scope="module")
def cutting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the weak policy, whose ``generation_config.json`` is like that of most published models."""
    folder = tmp_path_factory.mktemp("models") / "weak"
    shutil.copytree(find_policy("calculator-weak"), folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | CUT))
    with launch_embedded_sync(str(folder)) as url:
        yield url


@pytest.fixture(scope="module")
def run(
    cutting_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, RunSummary]]:
    def run(**sampling: Any) -> tuple[Path, RunSummary]:
        path = tmp_path_factory.mktemp("runs") / "run"
        fields = {"tasks": 40, "samples": 1, "workers": 0, "model.base_url": cutting_server, "out": str(path)}
        fields |= {f"sampling.{name}": value for name, value in {"temperature": None, **sampling}.items()}
        return path, evaluate(load_config("calculator", fields))

    return run


def sampled(path: Path) -> dict[tuple[str, int], list[list[int] | None]]:
    return {
        (t.task_id, t.sample_index): [turn.token_ids for turn in t.turns] for t in read_trajectories(path)
    }


def test_a_run_that_says_nothing_draws_from_the_policys_own_distribution(run) -> None:
    unsaid, summary = run()
    said, _ = run(temperature=1.0, top_k=-1, top_p=1.0)
    assert sampled(unsaid) == sampled(said)
    assert summary.sampling == [{"defaults": "neutral", **NEUTRAL}]
    assert {name: read_config(unsaid)["sampling"][name] for name in NEUTRAL} == NEUTRAL
    assert all(trajectory.sampling == summary.sampling[0] for trajectory in read_trajectories(unsaid))
    report = verify_run(unsaid)
    assert report.failures == []
    assert report.drawn.tokens == report.sampled_tokens > 1000


def test_a_run_that_leaves_it_to_the_server_says_so_and_is_found_out(run) -> None:
    left, summary = run(defaults="server")
    assert summary.sampling == [{"defaults": "server"}]
    report = verify_run(left)
    assert report.differences.largest < 1e-4  # the logprobs are right, and tell nothing
    assert "sampling.defaults: server" in report.notes[0]
    (failure,) = report.failures
    assert failure.startswith("not drawn from the distribution on record: 0 tokens ")


def test_a_cut_that_is_stated_is_no_fault(run) -> None:
    stated, summary = run(**CUT, temperature=0.9)
    assert summary.sampling == [{"defaults": "neutral", **NEUTRAL, **CUT, "temperature": 0.9}]
    report = verify_run(stated)
    assert report.failures == []
    assert report.drawn.tokens + sum(report.drawn.untested.values()) == report.sampled_tokens
