"""What can be said in a config, and the one line that tells what cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollway.errors import UserError
from rollway.evaluation.config_files import list_configs, load_config, parse_overrides
from rollway.evaluation.yaml_text import write_yaml


def complaint(values: dict[str, Any] | str, tmp_path: Path) -> str:
    file = tmp_path / "c.yaml"
    file.write_text(values if isinstance(values, str) else write_yaml(values))
    with pytest.raises(UserError) as error:
        load_config(str(file))
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(file), "c.yaml")


@pytest.mark.parametrize("name", ["calculator", "calculator-train"])
def test_every_shipped_config_is_valid(name: str) -> None:
    assert name in list_configs()
    assert load_config(name).environment == "calculator"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"environment": "calculator", "sample": 3},
            "c.yaml: sample: unknown field (did you mean 'samples'?)",
        ),
        (
            {"environment": "x", "model": {"base_ulr": "y"}},
            "model.base_ulr: unknown field (did you mean 'base_url'?)",
        ),
        (
            {"environment": "x", "sampling": {"temprature": 1}},
            "sampling.temprature: unknown field (did you mean 'temperature'?)",
        ),
        (
            {"environment": "x", "model": {"retry": {"trys": 1}}},
            "model.retry.trys: unknown field (did you mean 'tries'?)",
        ),
        ({"environment": "x", "samples": "many"}, "c.yaml: samples: should be a valid integer, not 'many'"),
        ({"environment": "x", "samples": 0}, "samples: should be greater than or equal to 1, not 0"),
        ({"environment": "x", "samples": True}, "samples: should be a valid integer, not True"),
        ({"environment": "x", "sampling": {"stop": [1]}}, "sampling.stop[0]: Expected str, got int"),
        (
            {"environment": "x", "limits": {"max_turns": 0}},
            "limits.max_turns must be positive or null, got 0",
        ),
        (
            {"environment": "x", "tools": {"mcp": [{"name": "x", "command": "y", "scope": "all"}]}},
            "tools.mcp.0.scope: Invalid enum value 'all'; it may be 'rollout' or 'worker'",
        ),
        ({"environment": "x", "limits": 3}, "limits: Expected object, got int"),
        (
            {"environment": "x", "model": "gpt"},
            "model: should be a section of fields, a ModelConfig, not 'gpt'",
        ),
        ({"environment": "x", "sampling": {"seed": 3}}, "sampling.seed: each rollout gets a seed of its own"),
        (
            {"environment": "x", "tasks": 3, "task_ids": ["a"]},
            "give tasks (how many) or task_ids (which), not both",
        ),
        (
            {
                "environment": "x",
                "model": {"backend": "token"},
                "sampling": {"extra": {"tool_choice": "required"}},
            },
            "sampling.extra has 'tool_choice', which only chat endpoints know",
        ),
        (
            {"environment": "x", "sampling": {"defaults": "folder"}},
            "sampling.defaults: Invalid enum value 'folder'; it may be 'neutral' or 'server'",
        ),
        (
            {"environment": "x", "groups": True, "sampling": {"defaults": "server"}},
            "training needs the policy's own distribution: leave it out",
        ),
        ({"environment": "x", "model": {"policy": None}}, "model: give base_url (a server) or policy"),
        (
            {"environment": "x", "model": {"base_url": "localhost"}},
            "model.base_url: base_url must be an address such as",
        ),
        ({"samples": 3}, "c.yaml: environment: is missing"),
        (
            "environment: calculator\n  tasks: 3\n",
            "c.yaml, line 2, column 8: mapping values are not allowed here",
        ),
        ("tasks: 3\ntasks: 4\n", "c.yaml, line 2, column 1: 'tasks' is given twice"),
        ("- calculator\n", "c.yaml: a config is fields with values"),
        ("environment: [\n", "c.yaml, line 2, column 1: expected the node content"),
    ],
)
def test_a_mistake_is_one_line_with_the_whole_path(values: Any, expected: str, tmp_path: Path) -> None:
    assert expected in complaint(values, tmp_path)


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    assert complaint({"environment": "x", "a": 1, "b": 2, "c": 3}, tmp_path).endswith("(and 2 more)")


def test_overrides_are_typed_as_yaml_and_win_over_the_file() -> None:
    overrides = parse_overrides(
        [
            "sampling.temperature=0",
            "sampling.stop=[a, b]",
            "limits.timeout=null",
            "model.retry.first_delay=1e-2",
        ]
    )
    config = load_config("calculator", overrides)
    assert config.sampling.temperature == 0
    assert config.sampling.stop == ["a", "b"]
    assert config.limits.timeout is None
    assert config.model.retry.first_delay == 0.01
    assert config.limits.max_turns == load_config("calculator").limits.max_turns


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("samples", "--set 'samples': write it as --set field=value"),
        ("=3", "write it as --set field=value"),
        ("samples=[", "--set samples, line 1, column 2"),
        ("samples.x=3", "--set samples.x: samples is no section of fields"),
        ("sampels=3", "the command line: sampels: unknown field (did you mean 'samples'?)"),
    ],
)
def test_a_wrong_override_says_so(assignment: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        load_config("calculator", parse_overrides([assignment]))
    assert expected in str(error.value)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UserError) as error:
        load_config("calclator")
    assert "did you mean 'calculator'?" in str(error.value)
    assert "calculator-train" in str(error.value)


def test_a_missing_config_file_says_so() -> None:
    with pytest.raises(UserError, match=r"no config file nowhere\.yaml"):
        load_config("nowhere.yaml")
