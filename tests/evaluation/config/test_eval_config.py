"""A whole config: complete, without a secret, and the same from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.config.eval_config import RayConfig
from rollway.evaluation.config_files import load_config
from rollway.evaluation.yaml_text import parse_yaml, write_yaml


def test_a_config_survives_its_own_file(tmp_path: Path) -> None:
    config = load_config("calculator").resolved(split="test")
    file = tmp_path / "config.yaml"
    file.write_text(write_yaml(config.as_dict()))
    assert load_config(str(file)) == config


def test_a_resolved_config_means_the_same_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = EvalConfig(environment="env.py:Mine", groups=True, out="here").resolved()
    assert config.environment == f"{tmp_path}/env.py:Mine"
    assert config.out == f"{tmp_path}/here"
    assert config.split == "train"


def test_what_yaml_has_no_words_for_is_written_as_it_is_read(tmp_path: Path) -> None:
    config = EvalConfig(environment="x", environment_args={"sizes": (1, 2), "file": tmp_path, "by": {3: 4}})
    assert config.as_dict()["environment_args"] == {"sizes": [1, 2], "file": str(tmp_path), "by": {3: 4}}
    assert parse_yaml(write_yaml(config.as_dict()), "x") == config.as_dict()
    with pytest.raises(UserError, match="must hold plain values: a type cannot be written"):
        EvalConfig(environment="x", environment_args={"class": type(tmp_path)}).as_dict()


def test_no_key_is_ever_part_of_a_config() -> None:
    assert not [
        name
        for name in EvalConfig(environment="x").as_dict()["model"]
        if "key" in name.replace("_key_env", "")
    ]


def test_a_cluster_that_nothing_would_run_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ray.address: with workers 0 nothing runs on the cluster"):
        EvalConfig(environment="calculator", ray=RayConfig(address="auto"))
    assert EvalConfig(environment="calculator", workers=1, ray=RayConfig(address="auto")).workers == 1
