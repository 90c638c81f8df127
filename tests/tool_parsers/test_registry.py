"""Formats are found by the names that people know, and loaded one at a time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rollway.errors import UserError
from rollway.tool_parsers import ToolFormat, get_parser, list_formats, list_parsers
from rollway.tool_parsers.registry import _MODULES, _SPELLED


@pytest.mark.parametrize("format", list_formats(), ids=lambda format: format.name)
def test_the_registry_and_the_declaration_agree(format: ToolFormat) -> None:
    module = next(module for module in _MODULES if _SPELLED.get(module, module) == format.name)
    assert _MODULES[module] == format.aliases
    for name in (format.name, *format.aliases):
        assert get_parser(name).format is format
        assert get_parser(name).name == format.name
    assert format.models
    assert format.cannot_say == "" or format.cannot_say.endswith(".")


@pytest.mark.parametrize("name", list_parsers())
def test_an_example_is_one_call_for_the_weather_in_oslo(name: str) -> None:
    parser = get_parser(name)
    parsed = parser.parse(parser.format.example)
    assert not parsed.errors
    assert [call.name for call in parsed.tool_calls] == ["get_weather"]
    assert json.loads(parsed.tool_calls[0].arguments)["city"] == "Oslo"


@pytest.mark.parametrize("asked", ["hermse", "qwen3-coder", "llama", ""])
def test_an_unknown_name_is_told_in_one_line(asked: str) -> None:
    with pytest.raises(UserError) as raised:
        get_parser(asked)
    assert repr(asked) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_name_gets_the_near_one() -> None:
    with pytest.raises(UserError, match="did you mean 'hermes'"):
        get_parser("hermse")


def test_importing_the_registry_loads_no_format_and_nothing_heavy() -> None:
    program = (
        "import sys, rollway.tool_parsers\n"
        "from rollway.tool_parsers.registry import _MODULES, get_parser\n"
        "loaded = [name for name in _MODULES if f'rollway.tool_parsers.{name}' in sys.modules]\n"
        "assert not loaded, loaded\n"
        "heavy = {'torch', 'transformers', 'aiohttp', 'ray', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "get_parser('hermes')\n"
        "loaded = [name for name in _MODULES if f'rollway.tool_parsers.{name}' in sys.modules]\n"
        "assert loaded == ['hermes'], loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
