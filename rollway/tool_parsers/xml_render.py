"""The way back for formats of tags around bare values: calls as text that is read as those very calls.

Such formats have no escapes, so there are values that they cannot say. What is written is read again before
it is given out, and calls that would be read as others are refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from rollway.tool_parsers.rendering import after_content, arguments_of
from rollway.tool_parsers.xml_calls import RawCall, RawParameter
from rollway.tool_parsers.xml_parameters import XmlFormat
from rollway.trajectory import ToolCall

CANNOT_SAY = (
    "The format has no escapes: a string with the tags that would end its parameter cannot be written, nor "
    "can keys and names with '<', '>' or line breaks."
)


class XmlRenderer:
    """`render` for a format of the family of `xml_parameters`."""

    def __init__(self, format: XmlFormat) -> None:
        self._format = format

    def __call__(self, calls: Sequence[ToolCall], content: str | None = None) -> str:
        """See `ToolParser.render`."""
        if not calls:
            return content or ""
        written = self._format.grammar.written
        parameters = [self._parameters(call) for call in calls]
        blocks = [self._block(call.name, each) for call, each in zip(calls, parameters, strict=True)]
        body = written.section[0] + written.between_calls.join(blocks) + written.section[1]
        text = after_content(content, body)
        self._check(calls, parameters, self._format.read(text))
        return text

    def _parameters(self, call: ToolCall) -> list[RawParameter]:
        return [
            RawParameter(key, self._value(value), isinstance(value, str))
            for key, value in arguments_of(call).items()
        ]

    def _value(self, value: object) -> str:
        if isinstance(value, str):
            return value
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return text.replace("<", "\\u003c") if self._format.holds_tag(text) else text

    def _block(self, name: str, parameters: Sequence[RawParameter]) -> str:
        written = self._format.grammar.written
        values = [
            written.parameter.format(key=key, value=value, string="true" if is_text else "false")
            for key, value, is_text in parameters
        ]
        return written.call[0].format(name=name) + "".join(values) + written.call[1]

    def _check(
        self, calls: Sequence[ToolCall], parameters: Sequence[list[RawParameter]], read: Sequence[RawCall]
    ) -> None:
        """Raises ValueError unless what was read is what was to be written."""
        for number, (call, wanted) in enumerate(zip(calls, parameters, strict=True)):
            found = read[number] if number < len(read) else None
            reason = _difference(call.name, wanted, found)
            if reason:
                raise ValueError(f"call {number + 1} ({call.name!r}) cannot be said in this format: {reason}")
        if len(read) > len(calls):
            raise ValueError("these calls cannot be said in this format: what they hold reads as more calls")


def _difference(name: str, wanted: Sequence[RawParameter], found: RawCall | None) -> str:
    """Why a call that was read is not the one that was written; "" if it is."""
    if found is None:
        return "a tag in the text before it swallows it"
    if found.name != name:
        return f"its name would be read as {found.name!r}"
    for parameter, other in zip(wanted, found.parameters, strict=False):
        if other.key != parameter.key:
            return f"its key {parameter.key!r} would be read as {other.key!r}"
        if other.value != parameter.value:
            return f"its parameter {parameter.key!r} would be read as {other.value[:80]!r}"
    if found.fault is not None or len(found.parameters) != len(wanted):
        return "a key or a value of it holds a tag of the format"
    return ""
