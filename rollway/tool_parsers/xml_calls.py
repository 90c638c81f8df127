"""A call as tags and text, before its values are typed, and a short cut that reads the commonest ones.

The short cut takes a call whose tags are all there and whose values hold no ``<``. It gives what the reader
of `xml_parameters` would give, in one match.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rollway.tool_parsers.json_calls import Fault
from rollway.tool_parsers.xml_grammar import Patterns, Tag, Trim

NAME = re.compile(r"[^\s<>{}\"']+")
"""A name that stands as text. In a tag it may be anything that the tag can hold."""


class RawParameter(NamedTuple):
    """A parameter as it was written, its value trimmed as the format wants."""

    key: str
    value: str
    is_text: bool | None = None  # whether the tag says that the value is text; None when it does not say


class RawCall(NamedTuple):
    """A block of the text: a call, or what was meant as one."""

    start: int
    end: int
    name: str
    parameters: list[RawParameter]
    fault: Fault | None = None


def trimmed(value: str, trim: Trim) -> str:
    """A value without the white space that belongs to the format."""
    if trim is Trim.ALL:
        return value.strip()
    return value.removeprefix("\n").removesuffix("\n") if trim is Trim.ONE_NEWLINE else value


class PlainCalls:
    """The short cut for one grammar."""

    __slots__ = ("_call", "_parameter", "_says", "_trim")

    def __init__(self, patterns: Patterns) -> None:
        tag = patterns.unnamed
        name = "" if patterns.has_names else rf"\s*+(?P<name>{NAME.pattern}+)\s*+"
        self._call = re.compile(
            r"\s*+(?P<block>)"
            + (rf"(?:{tag[Tag.WRAPPER]}\s*+)" if tag[Tag.WRAPPER] else "")
            + (patterns.call if patterns.has_names else tag[Tag.CALL] + name + tag[Tag.NAME_END])
            + rf"\s*+(?P<body>(?:{tag[Tag.PARAMETER]}[^<]*+{tag[Tag.PARAMETER_END]}\s*+)*+)"
            + tag[Tag.CALL_END]
            + (rf"\s*+{tag[Tag.WRAPPER_END]}" if tag[Tag.WRAPPER] else "")
        )
        self._parameter = re.compile(rf"{patterns.parameter}(?P<value>[^<]*+)")
        self._says = "string" in self._parameter.groupindex
        self._trim = patterns.grammar.trim

    def read(self, text: str, start: int) -> RawCall | None:
        """The call whose block begins at ``start`` or behind the white space there.

        None when it has to be read with care.
        """
        call = self._call.match(text, start)
        if call is None:
            return None
        name = call["name"].strip()
        parameters = [
            self._read_parameter(parameter)
            for parameter in self._parameter.finditer(text, call.start("body"), call.end("body"))
        ]
        keys = {parameter.key for parameter in parameters}
        if not name or len(keys) < len(parameters) or "" in keys:
            return None
        return RawCall(call.start("block"), call.end(), name, parameters)

    def _read_parameter(self, parameter: re.Match[str]) -> RawParameter:
        says = parameter["string"] if self._says else None
        value = trimmed(parameter["value"], self._trim)
        return RawParameter(parameter["key"].strip(), value, None if says is None else says == "true")
