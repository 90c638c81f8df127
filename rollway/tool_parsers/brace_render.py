"""The way back for formats of ``call:name{key:value}``: calls as text that is read as those very calls.

Strings have no escapes, so one that holds the quoting tag is refused; all else can be said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from rollway.tool_parsers.brace_calls import NAME, PLAIN_KEY, BraceGrammar
from rollway.tool_parsers.json_calls import Fault
from rollway.tool_parsers.rendering import after_content, arguments_of
from rollway.tool_parsers.schema_types import encode_json
from rollway.trajectory import ToolCall


class BraceRenderer:
    """`render` for a format of the family of `brace_calls`."""

    def __init__(self, grammar: BraceGrammar) -> None:
        self.grammar = grammar

    def __call__(self, calls: Sequence[ToolCall], content: str | None = None) -> str:
        """See `ToolParser.render`."""
        if calls and self.grammar.opening in (content or ""):
            raise ValueError(f"the content holds {self.grammar.opening!r}, which would be read as a call")
        return after_content(content, "".join(self._write(call) for call in calls))

    def _write(self, call: ToolCall) -> str:
        if not NAME.fullmatch(call.name):
            raise ValueError(f"the name {call.name!r} cannot be said in this format")
        fields = [
            f"{self._key(call, key)}:{self._value(call, value, top=True)}"
            for key, value in arguments_of(call).items()
        ]
        return f"{self.grammar.opening}call:{call.name}{{{','.join(fields)}}}{self.grammar.closing}"

    def _key(self, call: ToolCall, key: str) -> str:
        return key if PLAIN_KEY.fullmatch(key) else self._string(call, key)

    def _value(self, call: ToolCall, value: object, *, top: bool = False) -> str:
        mark = self.grammar.quote
        if top and self.grammar.quotes_json:
            if isinstance(value, str) and isinstance(encode_json(value), Fault) and mark not in value:
                return f"{mark}{value}{mark}"
            written = json.dumps(value, ensure_ascii=False, allow_nan=False)
            return f"{mark}{written.replace(mark, _escaped(mark))}{mark}"
        if isinstance(value, str):
            return self._string(call, value)
        if isinstance(value, dict):
            fields = [f"{self._key(call, key)}:{self._value(call, inner)}" for key, inner in value.items()]
            return "{" + ",".join(fields) + "}"
        if isinstance(value, list):
            return "[" + ",".join(self._value(call, item) for item in value) + "]"
        return json.dumps(value, allow_nan=False)

    def _string(self, call: ToolCall, text: str) -> str:
        mark = self.grammar.quote
        if mark in text:
            raise ValueError(
                f"call {call.name!r} cannot be said in this format: {text[:80]!r} holds {mark!r}, its own end"
            )
        return f"{mark}{text}{mark}"


def _escaped(mark: str) -> str:
    return f"\\u{ord(mark[0]):04x}{mark[1:]}"
