"""A section that exists is valid, however it was made."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from rollway.evaluation.config import EvalConfig, ModelConfig
from rollway.inference.protocol import Sampling
from rollway.limits import Limits


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"samples": 0}, "samples: Expected `int` >= 1"),
        ({"samples": "3"}, "samples: Expected `int`"),
        ({"limits": {"max_turn": 3}}, "limits: Object contains unknown field `max_turn`"),
        ({"model": {"base_url": "localhost"}}, "model: base_url must be an address"),
        ({"task_ids": "abc"}, "task_ids: "),
        ({"sampling": Sampling(seed=3)}, "sampling.seed: each rollout gets a seed of its own"),
    ],
)
def test_a_config_made_in_python_is_checked_like_a_file(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        EvalConfig(environment="x", **fields)
    with pytest.raises(ValueError, match=complaint):
        msgspec.structs.replace(EvalConfig(environment="x"), **fields)


def test_a_section_may_be_given_as_a_dict() -> None:
    given = EvalConfig(environment="x", limits={"timeout": 3}, task_ids=[1, "b"])  # type: ignore[arg-type]
    assert given == EvalConfig(environment="x", limits=Limits(timeout=3.0), task_ids=["1", "b"])


def test_there_is_a_server_or_a_policy_and_never_both() -> None:
    served = ModelConfig(policy="calculator")
    assert msgspec.structs.replace(served, base_url="http://127.0.0.1:1").policy is None
    assert ModelConfig(backend="openai").policy is None


def test_reading_a_config_does_not_wait_for_pydantic() -> None:
    code = (
        "import sys\nfrom rollway.evaluation.config_files import load_config\nload_config('calculator')\n"
        "print({'pydantic', 'pydantic_core'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
