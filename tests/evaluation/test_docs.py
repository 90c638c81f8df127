"""docs/evaluation.md and docs/configuration.md say what is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rollway.evaluation.config import EvalConfig, validate
from rollway.evaluation.yaml_text import parse_yaml

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def documented() -> dict[str, Any]:
    """Dotted field to default, as the tables say."""
    found: dict[str, Any] = {}
    section = ""
    for line in CONFIGURATION.splitlines():
        if line.startswith("## "):
            section = ""
        if match := re.match(r"`(\w+)`( \(|:)", line):
            section = f"{match[1]}."
        if row := re.match(r"\| ((?:`[\w.]+`(?:, )?)+) \| (.*?) \|", line):
            names = re.findall(r"`([\w.]+)`", row[1])
            defaults = re.findall(r"`(.*?)`", row[2])
            for number, name in enumerate(names):
                default = defaults[min(number, len(defaults) - 1)] if defaults else None
                found[section + name] = default if default is None else parse_yaml(default, name)
    return found


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        nested = isinstance(value, dict) and value
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def test_every_field_is_documented_with_its_default() -> None:
    actual = flat(EvalConfig(environment="x").as_dict())
    actual["environment"] = None
    del actual["sampling.seed"]  # refused: each rollout has its own
    assert documented() == actual


@pytest.mark.parametrize("text", blocks("configuration.md", "yaml"))
def test_an_example_is_a_config(text: str) -> None:
    validate(parse_yaml(text, "docs"), "docs")


def test_the_example_in_python_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("evaluation.md", "python")
    exec(compile(program, "evaluation.md", "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-17].startswith("16 Estimate(mean=")
    assert len({tuple(line.split()[:2]) for line in lines[-16:]}) == 16
