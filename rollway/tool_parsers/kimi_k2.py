"""The format of Kimi K2: ``functions.name:index`` is both the call's name and its id."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rollway.tool_parsers.draft import IdForm
from rollway.tool_parsers.format import ToolFormat
from rollway.tool_parsers.named_json import NamedJson
from rollway.tool_parsers.rendering import after_content, argument_json, plain_name
from rollway.trajectory import ToolCall

_BEGIN, _END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL, _CALL_END, _ARGUMENTS = "<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_call_argument_begin|>"
_ID = re.compile(r"(?:functions\.)?(?P<name>.*?)(?P<index>:\d++(?:_\d++)?)?", re.DOTALL)
"""Earlier records told a repeated id apart by a ``_2`` behind it, and models copy what they were shown."""


def _read_name(header: re.Match[str]) -> tuple[str, str]:
    written = header["id"].strip()
    parts = _ID.fullmatch(written)
    if parts is None:
        return written, ""
    return parts["name"], written if parts["index"] else ""


def _id(call: ToolCall, index: int) -> str:
    name = plain_name(call, "<")
    own = _ID.fullmatch(call.id)
    if own and own["index"] and own["name"] == name and call.id.startswith("functions."):
        return call.id
    return f"functions.{name}:{index}"


def _render(calls: Sequence[ToolCall], content: str | None = None) -> str:
    blocks = [
        f"{_CALL}{_id(call, index)}{_ARGUMENTS}{argument_json(call)}{_CALL_END}"
        for index, call in enumerate(calls)
    ]
    return after_content(content, f"{_BEGIN}{''.join(blocks)}{_END}" if blocks else "", "")


FORMAT = ToolFormat(
    name="kimi_k2",
    models="Kimi K2 and K2 Thinking",
    example=f'{_BEGIN}{_CALL}functions.get_weather:0{_ARGUMENTS}{{"city": "Oslo"}}{_CALL_END}{_END}',
    special_marks=True,
    parse=NamedJson(
        section=(_BEGIN, _END),
        opening=_CALL,
        header=rf"(?P<id>[^<]*+){re.escape(_ARGUMENTS)}\s*",
        closing=_CALL_END,
        read_name=_read_name,
        id_form=IdForm(by_name=True),
    ).parse,
    render=_render,
    cannot_say="A name with a line break or '<'.",
)
