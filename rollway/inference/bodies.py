"""The body of an answer as typed records: strictly at first, and where that fails, once more and leniently.

The invariant: a field that is needed (a record's ``needed``, or one without a default) is never left out. Any
other that is not of its type is mended where its meaning is plain (but for those in a record's ``exact``),
and else is as if the server had not said it. A body that was cut is told from one that is something else.
"""

from __future__ import annotations

import functools
import re
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from rollway.inference.errors import InvalidReply
from rollway.inference.faults import one_line
from rollway.inference.token_data import Logprob
from rollway.inference.tries import TryFailed, TryFault

Record = TypeVar("Record", bound=msgspec.Struct)

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises."""

_CONSTANTS = re.compile(rb'"(?:[^"\\]|\\.)*+"|-?Infinity|-?NaN', re.DOTALL)
_TEXT_KEYS = ("text", "content", "thinking", "reasoning", "summary", "value")


def decode_leniently(body: bytes, kind: type[Record]) -> Record:
    """Read JSON as a record, field by field; ``NaN`` and ``Infinity`` in it are read as null.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is none, or lacks a field that is needed.
    """
    return _record(without_constants(body), kind)


def without_constants(body: bytes) -> bytes:
    """Python's and JavaScript's numbers that JSON does not know, as null."""
    if b"NaN" not in body and b"Infinity" not in body:
        return body
    return _CONSTANTS.sub(lambda found: found[0] if found[0].startswith(b'"') else b"null", body)


def unreadable(server: str, what: str, body: bytes, error: object) -> TryFailed:
    """The failure of a body that is not ``what`` was due. One that was cut may be whole the next time, and a
    page of something on the way gone."""
    if not body.strip():
        return TryFailed(InvalidReply(f"{server} sent an empty body, and no {what}"), fault=TryFault.BROKEN)
    start = repr(one_line(body[:100].decode("utf-8", "replace")))
    if is_cut(body):
        cut = f"{server} sent only the beginning of a {what} ({error}); it begins {start}"
        return TryFailed(InvalidReply(cut), fault=TryFault.BROKEN)
    is_stream = body.lstrip().startswith(b"data:")
    told = "it is a stream of events, which was not asked for" if is_stream else error
    no_json = not is_stream and body.lstrip()[:1] not in (b"{", b"[")
    return TryFailed(
        InvalidReply(f"{server} sent no usable {what}: {told}; it begins {start}"), retry=no_json
    )


def id_of(said: Any) -> str:
    """The id of a reply, as its server gives it in whatever type; "" where it gives none."""
    return said if isinstance(said, str) else "" if said is None else str(said)


def is_cut(body: bytes) -> bool:
    """Whether a body is the beginning of JSON, or nothing at all."""
    text = without_constants(body.strip())
    if text[:1] not in (b"{", b"["):
        return not text
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return "truncated" in str(error) or text[-1:] not in (b"}", b"]")
    except (UnicodeDecodeError, RecursionError):
        return False
    return False


def _record(raw: bytes, kind: type[Record]) -> Record:
    given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    hints = _hints(kind)
    needed: frozenset[str] = getattr(kind, "needed", frozenset())
    exact: frozenset[str] = getattr(kind, "exact", frozenset())
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in given:
            continue
        try:
            read = _exactly if field.name in exact else _value
            values[field.name] = read(bytes(given[field.encode_name]), hints[field.name])
        except NOT_JSON:
            if field.required or field.name in needed:
                raise
    missing = [
        field.name for field in msgspec.structs.fields(kind) if field.required and field.name not in values
    ]
    if missing:
        raise msgspec.ValidationError(f"Object missing required field `{missing[0]}`")
    return kind(**values)


def _exactly(raw: bytes, hint: Any) -> Any:
    """A value that is as it should be, or a record that is nearly so; nothing is made of another type."""
    try:
        return msgspec.json.decode(raw, type=hint)
    except NOT_JSON:
        records = (each for each in get_args(hint) if _suits(raw, each) and raw.startswith(b"{"))
        record = next(records, None)
        if record is None:
            raise
        return _record(raw, record)


def _value(raw: bytes, hint: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=hint)
    except NOT_JSON:
        members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        for member in sorted(members, key=lambda each: not _suits(raw, each)):
            try:
                return _mended(raw, member)
            except NOT_JSON:
                continue
        raise


def _suits(raw: bytes, hint: Any) -> bool:
    if raw.startswith(b"["):
        return get_origin(hint) is list
    return raw.startswith(b"{") and isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _mended(raw: bytes, hint: Any) -> Any:
    """A value of another type than it should have, where what it means is plain."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _record(raw, hint)
    if hint is Logprob:  # what is null or lies beyond its bounds is judged by the reader
        return msgspec.json.decode(raw, type=float | None)
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        records = isinstance(item, type) and issubclass(item, msgspec.Struct)
        alone = records and raw.startswith(b"{")
        items = [msgspec.Raw(raw)] if alone else msgspec.json.decode(raw, type=list[msgspec.Raw])
        return [_value(bytes(each), item) for each in items if not records or bytes(each) != b"null"]
    if get_origin(hint) is tuple:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        missing = [msgspec.Raw(b"null")] * (len(get_args(hint)) - len(items))
        return tuple(
            _value(bytes(each), kind) for each, kind in zip([*items, *missing], get_args(hint), strict=False)
        )
    if hint is str:
        return _text(msgspec.json.decode(raw), raw)
    if hint is int:
        return _integer(msgspec.json.decode(raw))
    raise msgspec.ValidationError(f"{raw[:20]!r} is no {hint}")


def _text(value: Any, raw: bytes) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return raw.decode()
    if isinstance(value, list):
        return "".join(_text(each, msgspec.json.encode(each)) for each in value if each is not None)
    if isinstance(value, dict):
        for key in _TEXT_KEYS:
            if value.get(key):
                return _text(value[key], msgspec.json.encode(value[key]))
    raise msgspec.ValidationError("no text")


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise msgspec.ValidationError("no whole number")


@functools.cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)
