"""One call out of the text of one JSON value, or the one reason why it is none.

The argument text comes out as the model wrote it, save that raw control characters inside strings are
escaped. Nothing is guessed: what is no JSON is only read when the caller asks for leniency.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import msgspec

from rollway.json_keys import repeated_key
from rollway.tool_parsers.json_lenient import read_lenient
from rollway.tool_parsers.json_values import escape_controls
from rollway.tool_parsers.output import ParseErrorKind

_NO_JSON = (msgspec.DecodeError, UnicodeEncodeError, RecursionError)
_ABSENT = msgspec.Raw(b"")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder(msgspec.Raw)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class Call(NamedTuple):
    """A call as it was written."""

    name: str
    arguments: str  # JSON object
    id: str = ""  # "" when the model wrote none
    repaired: bool = False  # only leniency made it readable


class Fault(NamedTuple):
    """Why a value is no call."""

    kind: ParseErrorKind
    message: str
    name: str = ""


_ADVICE = (
    "Use double quotes around keys and strings, no trailing commas, true/false/null, and close every bracket."
)
NOT_JSON = Fault(ParseErrorKind.INVALID_JSON, f"The call is not valid JSON. {_ADVICE}")
UNCLOSED = Fault(
    ParseErrorKind.UNCLOSED, "The call is cut off: its end is missing. Write the whole call again."
)


class CallKeys(NamedTuple):
    """Under which keys a format writes a call; the first that is there counts."""

    name: tuple[str, ...] = ("name",)
    arguments: tuple[str, ...] = ("arguments", "parameters")
    id: tuple[str, ...] = ("id",)


KEYS = CallKeys()


class _PlainCall(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = _ABSENT
    id: str = ""
    parameters: msgspec.Raw = _ABSENT


_PLAIN = msgspec.json.Decoder(_PlainCall)


def read_plain_call(source: str) -> Call | None:
    """A call in the commonest form, ``{"name": str, "arguments": {...}}``; None for anything else.

    A short cut for `read_call`, which gives the same call.
    """
    try:
        plain = _PLAIN.decode(source)
    except _NO_JSON:
        return None
    arguments = str(plain.arguments or plain.parameters, "utf-8")
    if not arguments.startswith("{") or not plain.name or plain.name.isspace():
        return None
    # A text with no more colons than its objects have keys gives none of them twice.
    keys = len(_OBJECT.decode(arguments)) + 2 + bool(plain.id)
    if source.count(":") != keys and repeated_key(source) is not None:
        return None
    return Call(plain.name, arguments, plain.id)


def read_call(source: str, *, lenient: bool = False, keys: CallKeys = KEYS) -> Call | Fault:
    """The call that a JSON object says."""
    if keys is KEYS and (plain := read_plain_call(source)) is not None:
        return plain
    fields, repaired = read_fields(source, lenient)
    if isinstance(fields, Fault):
        return fields
    name = _string_field(fields, keys.name)
    if not name or name.isspace():
        return Fault(
            ParseErrorKind.MISSING_NAME,
            f"The call has no {keys.name[0]!r}. "
            f"Write an object with {keys.name[0]!r} (a string) and {keys.arguments[0]!r} (an object).",
        )
    arguments = _first(fields, keys.arguments)
    text = argument_text(arguments)
    if text is None:
        return wrong_arguments(name, arguments)
    return Call(name, text, _id_field(fields, keys.id), repaired)


def read_arguments(name: str, source: str, *, lenient: bool = False, id: str = "") -> Call | Fault:
    """The call whose name stands outside the JSON, with ``source`` for its arguments."""
    if not name or name.isspace():
        return Fault(ParseErrorKind.MISSING_NAME, "The call has no name. Write the tool's name.")
    value, repaired = read_value(source, lenient)
    if isinstance(value, Fault):
        return value._replace(name=name)
    text = argument_text(value)
    if text is None:
        return wrong_arguments(name, value)
    return Call(name, text, id, repaired)


def read_fields(source: str, lenient: bool) -> tuple[dict[str, str] | Fault, bool]:
    """The raw text of each field of an object, and whether only leniency could read it."""
    value, repaired = read_value(source, lenient)
    if isinstance(value, Fault):
        return value, False
    try:
        fields = _OBJECT.decode(value)
    except msgspec.ValidationError:
        return {}, repaired
    return {key: str(raw, "utf-8") for key, raw in fields.items()}, repaired


def read_items(source: str) -> list[str] | None:
    """The raw text of each item of a list; None when ``source`` is no list in JSON."""
    try:
        return [str(raw, "utf-8") for raw in _LIST.decode(escape_controls(source))]
    except _NO_JSON:
        return None


def read_value(source: str, lenient: bool) -> tuple[str | Fault, bool]:
    """``source`` as strict JSON text, and whether only leniency could read it."""
    source = escape_controls(source)
    try:
        _ANY.decode(source)
    except _NO_JSON as error:
        if lenient and not isinstance(error, UnicodeEncodeError):
            found = read_lenient(source, 0, unique=True)
            if found is not None and not source[found[1] :].strip():
                return json.dumps(found[0], ensure_ascii=False), True
        return Fault(ParseErrorKind.INVALID_JSON, _json_advice(error)), False
    twice = repeated_key(source)
    if twice is not None:
        return Fault(ParseErrorKind.INVALID_JSON, _twice_advice(twice)), False
    return source.strip(), False


def argument_text(raw: str | None) -> str | None:
    """The JSON object that ``raw`` stands for; None when it is something else.

    Absent, null and an empty string mean no arguments; a string that holds an object means that object.
    """
    if raw is None or raw == "null":
        return "{}"
    if raw.startswith("{"):
        return raw
    if not raw.startswith('"'):
        return None
    inner = escape_controls(_STRING.decode(raw).strip())
    if not inner or inner == "null":
        return "{}"
    try:
        _ANY.decode(inner)
    except _NO_JSON:
        return None
    if repeated_key(inner) is not None:
        return None
    return inner if inner.startswith("{") else None


def wrong_arguments(name: str, raw: str | None) -> Fault:
    """The fault of arguments that are no object."""
    kinds = {"[": "a list", '"': "a string", "t": "a boolean", "f": "a boolean"}
    kind = kinds.get((raw or "")[:1], "a number")
    return Fault(
        ParseErrorKind.INVALID_ARGUMENTS,
        f"The arguments of {name!r} are {kind}. Write a JSON object with one key per parameter.",
        name,
    )


def _first(fields: dict[str, str], keys: tuple[str, ...]) -> str | None:
    return next((fields[key] for key in keys if key in fields), None)


def _string_field(fields: dict[str, str], keys: tuple[str, ...]) -> str:
    raw = _first(fields, keys)
    return _STRING.decode(raw) if raw is not None and raw.startswith('"') else ""


def _id_field(fields: dict[str, str], keys: tuple[str, ...]) -> str:
    raw = _first(fields, keys)
    if raw is None or raw[0] in "nft{[":
        return ""
    return _STRING.decode(raw) if raw.startswith('"') else raw


def _twice_advice(key: str) -> str:
    return f"The call gives the key {key!r} twice, so it was not made. Write every key once."


def _json_advice(error: Exception) -> str:
    detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).rstrip(".")
    return f"The call is not valid JSON: {detail}. {_ADVICE}"
