"""Formats by name. Importing this file imports no format: each is loaded when it is first asked for."""

from __future__ import annotations

import importlib
from functools import cache

from rollway.errors import UserError, nearest
from rollway.tool_parsers.format import ToolFormat, ToolParser

_MODULES: dict[str, tuple[str, ...]] = {
    "apertus": (),
    "cohere_command3": (),
    "deepseek_v3": (),
    "deepseek_v31": (),
    "deepseek_v32": ("deepseekv32",),
    "deepseek_v4": (),
    "dots": (),
    "ernie45": (),
    "functiongemma": (),
    "gemma4": (),
    "glm45": ("glm",),
    "glm47": ("ling3",),
    "granite": (),
    "granite4": (),
    "granite_20b_fc": (),
    "hermes": ("qwen", "qwen25"),
    "hunyuan_a13b": (),
    "hy_v3": (),
    "internlm": (),
    "jamba": (),
    "kimi_k2": (),
    "lfm2": (),
    "llama3_json": ("llama4_json",),
    "llama4_pythonic": (),
    "longcat": (),
    "minimax_m2": ("minimax-m2",),
    "mistral": (),
    "olmo3": (),
    "openai": (),
    "phi4_mini_json": (),
    "pythonic": (),
    "qwen3_coder": ("qwen3_xml", "step3p5"),
    "seed_oss": (),
    "step3": (),
    "xlam": (),
}
"""Module of this package with a ``FORMAT``, and the format's aliases. The format's own name is the module's,
with ``-`` for ``_`` where `_SPELLED` says so."""

_SPELLED = {"granite_20b_fc": "granite-20b-fc"}
"""Names that are no Python module names."""


def list_parsers() -> list[str]:
    """The name of every format, without aliases, sorted."""
    return sorted(_SPELLED.get(module, module) for module in _MODULES)


def list_formats() -> list[ToolFormat]:
    """Every declaration, by name. Loads them all."""
    return [get_parser(name).format for name in list_parsers()]


@cache
def get_parser(name: str) -> ToolParser:
    """The parser of a format, by its name or an alias.

    Raises:
        UserError: there is no such format; the message names one that is near.
    """
    module = _by_name().get(name)
    if module is None:
        raise UserError(
            f"unknown tool-call format {name!r}{nearest(name, _by_name())}; "
            f"`rollway parse --list` shows them all"
        )
    loaded = importlib.import_module(f"rollway.tool_parsers.{module}")
    format: ToolFormat = loaded.FORMAT
    return ToolParser(format)


@cache
def _by_name() -> dict[str, str]:
    names = {}
    for module, aliases in _MODULES.items():
        for name in (_SPELLED.get(module, module), *aliases):
            names[name] = module
    return names
