"""`rollway parse` shows what a parser reads, and says a mistake in one line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from rollway.cli import main
from rollway.tool_parsers import list_parsers, list_reasoning_formats

TEXT = (
    '<think>Look.</think>Wait.\n<tool_call>{"name": "f", "arguments": {"city": "Oslo"}}</tool_call>\n'
    "<tool_call>{'name': 'g', 'arguments': {}}</tool_call>"
)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    def type_text(text: str | bytes) -> None:
        raw = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))

    return type_text


def test_thought_content_calls_and_errors_are_shown(type_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(TEXT)
    assert main(["parse", "--format", "hermes", "--reasoning", "qwen3"]) == 0
    shown = capsys.readouterr().out
    for part in ("Look.", "Wait.", "call f", '{"city": "Oslo"}', "error invalid_json"):
        assert part in shown


def test_as_json_it_is_one_line_with_everything(type_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(TEXT)
    assert main(["parse", "--format", "hermes", "--lenient", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    parsed = json.loads(out)
    assert [call["name"] for call in parsed["tool_calls"]] == ["f", "g"]
    assert parsed["repaired"] == [1]
    assert parsed["reasoning"] is None
    assert parsed["errors"] == []


def test_tools_decide_the_types_of_bare_values(
    type_in: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "f", "parameters": schema}}]))
    type_in("<tool_call>\n<function=f>\n<parameter=n>\n7\n</parameter>\n</function>\n</tool_call>")
    assert main(["parse", "--format", "qwen3_coder", "--tools", str(tools), "--json"]) == 0
    (call,) = json.loads(capsys.readouterr().out)["tool_calls"]
    assert json.loads(call["arguments"]) == {"n": 7}


def test_bytes_that_are_no_text_are_read_too(type_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(b"\xff\xfe<tool_call>")
    assert main(["parse", "--format", "hermes"]) == 0
    assert "error unclosed" in capsys.readouterr().out


def test_the_list_shows_every_format_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name}" in f"\n{shown}" for name in list_parsers())
    assert all(f"--reasoning {entry.name}" in shown for entry in list_reasoning_formats())
    assert "get_weather" in shown


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "--format"),
        (["--format", "hermse"], "hermes"),
        (["--format", "hermes", "--reasoning", "qwen33"], "qwen3"),
        (["--format", "hermes", "--tools", "no/such/file"], "no/such/file"),
        (["--format", "hermes", "--tools", "broken.json"], "broken.json"),
        (["--format", "hermes", "--tools", "number.json"], "number.json"),
        (["--format", "hermes", "--tools", "nameless.json"], "tool 0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    part: str,
    type_in: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{")
    Path("number.json").write_text("7")
    Path("nameless.json").write_text('[{"type": "function"}]')
    type_in("")
    assert main(["parse", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert part in said
