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
        (
            {"environment": "x", "samples": "many"},
            "c.yaml: samples: should be a whole number of at least 1, not 'many'",
        ),
        ({"environment": "x", "samples": 0}, "samples: should be a whole number of at least 1, not 0"),
        ({"environment": "x", "samples": True}, "samples: should be a whole number of at least 1, not True"),
        (
            {"environment": "x", "sampling": {"stop": [1]}},
            "sampling.stop[0]: should be text, not 1; put it in quotes",
        ),
        ({"environment": "x", "sampling": {"stop": "."}}, "sampling.stop: should be a list or null, not '.'"),
        (
            "environment: x\nmodel: {name: 2024-01-01}\n",
            "model.name: should be text or null, not datetime.date(2024, 1, 1); put it in quotes",
        ),
        ("environment: x\nsandbox: {environment: {NO: a}}\n", "sandbox.environment.False: should be text"),
        ({"environment": "x", "groups": "no"}, "groups: should be true or false, not 'no'"),
        (
            {"environment": "x", "sampling": {"top_p": "0.9"}},
            "sampling.top_p: should be a number or null, not '0.9'",
        ),
        (
            {"environment": "x", "model": {"backend": "tokens"}},
            "model.backend: should be 'chat', 'openai' or 'token', not 'tokens' (did you mean 'token'?)",
        ),
        (
            {"environment": "x", "wandb": {"mode": "off"}},
            "wandb.mode: should be 'offline', 'online' or null, not 'off'",
        ),
        (
            {"environment": "x", "tools": {"approval": {"timeout": 0}}},
            "tools.approval.timeout: should be a number above 0 or null, not 0",
        ),
        (
            {"environment": "x", "tools": {"approval": {"rules": [{"tool": "*"}]}}},
            "tools.approval.rules[0].decide: is missing",
        ),
        (
            {"environment": "x", "tools": {"mcp": [{"name": "a", "command": "b"}, {"name": "c"}]}},
            "tools.mcp[1]: MCP server 'c': give either a command (stdio) or a url (streamable HTTP)",
        ),
        (
            {"environment": "x", "sandbox": {"limits": {"memroy": 1}}},
            "sandbox.limits.memroy: unknown field (did you mean 'memory'?)",
        ),
        (
            {"environment": "x", "sandbox": {"limits": {"memory": 0}}},
            "sandbox.limits.memory: should be a whole number of at least 1, not 0",
        ),
        (
            {"environment": "x", "model": {"retry": {"tries": 0}}},
            "model.retry.tries: must be at least 1, got 0; 1 means no retry",
        ),
        (
            {"environment": "x", "limits": {"max_turns": 0}},
            "c.yaml: limits.max_turns: must be positive or null, got 0",
        ),
        (
            {"environment": "x", "tools": {"mcp": [{"name": "x", "command": "y", "scope": "all"}]}},
            "tools.mcp[0].scope: should be 'rollout' or 'worker', not 'all'",
        ),
        ({"environment": "x", "limits": 3}, "limits: should be a section of fields, not 3"),
        (
            {"environment": "x", "model": "gpt"},
            "model: should be a section of fields, not 'gpt'",
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
            "sampling.extra: 'tool_choice' is known to chat endpoints only",
        ),
        (
            {"environment": "x", "sampling": {"defaults": "folder"}},
            "sampling.defaults: should be 'neutral' or 'server', not 'folder'",
        ),
        (
            {"environment": "x", "groups": True, "sampling": {"defaults": "server"}},
            "training needs the policy's own distribution: remove it",
        ),
        ({"environment": "x", "model": {"policy": None}}, "model: give base_url (a server) or policy"),
        (
            {"environment": "x", "model": {"base_url": "localhost"}},
            "model.base_url: must be an address such as",
        ),
        ({"samples": 3}, "c.yaml: environment: is missing"),
        (
            "environment: calculator\n  tasks: 3\n",
            "c.yaml, line 2, column 8: mapping values are not allowed here",
        ),
        ("tasks: 3\ntasks: 4\n", "c.yaml, line 2, column 1: 'tasks' is given twice"),
        ("- calculator\n", "c.yaml: a config must be a mapping"),
        ("environment: [\n", "c.yaml, line 2, column 1: expected the node content"),
    ],
)
def test_a_mistake_is_one_line_with_the_whole_path(values: Any, expected: str, tmp_path: Path) -> None:
    assert expected in complaint(values, tmp_path)


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    assert complaint({"environment": "x", "a": 1, "b": 2, "c": 3}, tmp_path).endswith("(and 2 more)")
    several = {"enviroment": "x", "samples": 0, "model": {"retry": {"tries": "x"}, "name": []}}
    assert complaint(several, tmp_path) == (
        "c.yaml: enviroment: unknown field (did you mean 'environment'?) (and 4 more)"
    )


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
        ("samples.x=3", "--set samples.x: samples is not a section"),
        ("sampels=3", "the command line: sampels: unknown field (did you mean 'samples'?)"),
        ("limits.timeout=0", "the command line: limits.timeout: must be positive or null, got 0"),
        ("limits={timeout: 0}", "the command line: limits.timeout: must be positive or null, got 0"),
        ("model.base_url=localhost", "the command line: model.base_url: must be an address such as"),
        ("sampling.stop=[3]", "the command line: sampling.stop[0]: should be text"),
        ("tools.mcp=[{command: x}]", "the command line: tools.mcp[0].name: is missing"),
        ("sampling.seed=3", "the command line: sampling.seed: each rollout gets a seed of its own"),
    ],
)
def test_a_wrong_override_says_so(assignment: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        load_config("calculator", parse_overrides([assignment]))
    assert expected in str(error.value)


def test_a_mistake_of_the_file_is_not_blamed_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("environment: x\nlimits: {timeout: 0}\n")
    with pytest.raises(UserError) as error:
        load_config(str(file), parse_overrides(["limits.max_turns=3"]))
    assert str(error.value) == f"{file}: limits.timeout: must be positive or null, got 0.0"


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UserError) as error:
        load_config("calclator")
    assert "did you mean 'calculator'?" in str(error.value)
    assert "calculator-train" in str(error.value)


def test_a_missing_config_file_says_so() -> None:
    with pytest.raises(UserError, match=r"no config file nowhere\.yaml"):
        load_config("nowhere.yaml")


def test_an_environment_is_taken_as_a_class() -> None:
    from rollway.environments.calculator.environment import CalculatorEnvironment

    config = load_config(CalculatorEnvironment, {"tasks": 2})
    assert config.environment == "rollway.environments.calculator.environment:CalculatorEnvironment"
    assert config.tasks == 2


def test_what_is_no_environment_is_refused() -> None:
    with pytest.raises(UserError, match="load_config takes a name, a file or an environment, not 3"):
        load_config(3)  # type: ignore[arg-type]
