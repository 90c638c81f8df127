"""Any value of a user's code as plain values: what JSON can say, and what is read back equal.

The invariant: `plain` returns None, bools, numbers, valid texts, and lists and dicts (keyed by texts) of
these, whatever it is given, and names what is lost. The rules:

- NumPy scalars, arrays and tensors are their numbers; enums their values; tuples, sets and other
  collections lists; dataclasses, structs and models dicts; paths text; dates and times ISO text; an exception
  its type and message; bytes their text. Keys that are numbers, None, dates or paths become their text.
- A lone half of a surrogate pair, which UTF-8 cannot say, is "?" in a text.
- A number that is not finite is None, and told of.
- What nothing can be made of (other objects, bytes that are no text, what holds itself or is nested more than
  100 deep) is left out by itself, and told of: a member of a dict with its key, an item of a list as None.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import numbers
import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

MOST_DEPTH = 100
MOST_TOLD = 10
MOST_PLACE = 120
"""Characters of the name of a place."""

MOST_BITS = 14_000
"""Of an integer: no more than the 4,300 digits that Python writes."""


class _LeftOut(Exception):
    """Nothing can be made of a value. The message says why."""


def plain(value: Any, where: str = "value") -> tuple[Any, list[str]]:
    """``value`` in plain values, and a line for each number that is not finite or value that was left out.

    A value that is left out as a whole is None. ``where`` is how the lines name it, such as ``metadata``.
    """
    walk = _Walk()
    try:
        made = walk.plain(value, where)
    except _LeftOut as why:
        walk.tell(where, str(why))
        made = None
    more = walk.losses - len(walk.told)
    return made, [*walk.told, f"and {more:,} more"] if more else walk.told


def printable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot say, replaced."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


class _Walk:
    """One walk through a value."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.losses = 0
        self._within: list[int] = []  # ids of the containers around the value

    def tell(self, where: str, what: str) -> None:
        """Note a loss, the first `MOST_TOLD` in words."""
        self.losses += 1
        if len(self.told) < MOST_TOLD:
            place = where if len(where) <= MOST_PLACE else f"{where[: MOST_PLACE // 2]}...{where[-20:]}"
            self.told.append(f"{place}: {what}")

    def plain(self, value: Any, where: str) -> Any:
        """Raises `_LeftOut` when nothing can be made of it."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return printable(value)
        if kind is int and -(2**63) <= value < 2**63:
            return value
        if kind is float and math.isfinite(value):
            return value
        if len(self._within) >= MOST_DEPTH:
            raise _LeftOut("it is nested too deeply")
        if id(value) in self._within:
            raise _LeftOut("it holds itself")
        self._within.append(id(value))
        try:
            return self._convert(value, where)
        except (_LeftOut, KeyboardInterrupt):
            raise
        except Exception as error:  # the value's own code
            raise _LeftOut(f"to read the {kind.__name__} raised {_said(error)}") from None
        finally:
            self._within.pop()

    def _convert(self, value: Any, where: str) -> Any:
        if isinstance(value, enum.Enum):
            return self.plain(value.value, where)
        if isinstance(value, Mapping):
            return self._dict(value, where)
        if isinstance(value, str):
            return printable(str.__str__(value))
        if isinstance(value, bool | numbers.Real) and not hasattr(value, "tolist"):
            return self._number(value, where)
        if isinstance(value, bytes | bytearray | memoryview):
            return _decoded(bytes(value))
        if isinstance(value, Sequence | Set) or type(value).__name__ == "deque":
            return self._list(value, where)
        if callable(getattr(value, "tolist", None)) and not isinstance(value, type):
            return self.plain(value.tolist(), where)  # NumPy arrays and scalars, torch tensors
        return self._object(value, where)

    def _number(self, value: Any, where: str) -> Any:
        if isinstance(value, numbers.Integral):
            if int(value).bit_length() > MOST_BITS:
                raise _LeftOut("it has more digits than can be written")
            return int(value)
        number = float(value)
        if math.isfinite(number):
            return number
        self.tell(where, f"{number} is no number of JSON")
        return None

    def _dict(self, value: Mapping[Any, Any], where: str) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, inner in value.items():
            place = f"{where}[{_shown(key)}]"
            try:
                name = _key(key)
                if name in kept:
                    raise _LeftOut(f"another key is {name!r} as a text, too")
                kept[name] = self.plain(inner, place)
            except _LeftOut as why:
                self.tell(place, str(why))
        return kept

    def _list(self, value: Any, where: str) -> list[Any]:
        items: Any = value
        if isinstance(value, set | frozenset):
            try:
                items = sorted(value)  # the order of a set is another in every process
            except TypeError:
                items = sorted(value, key=repr)
        kept = []
        for place, inner in enumerate(items):
            try:
                kept.append(self.plain(inner, f"{where}[{place}]"))
            except _LeftOut as why:
                self.tell(f"{where}[{place}]", str(why))
                kept.append(None)
        return kept

    def _object(self, value: Any, where: str) -> Any:
        if isinstance(value, BaseException):
            return printable(_said(value))
        if isinstance(value, os.PathLike):
            path = os.fspath(value)
            return printable(path) if isinstance(path, str) else _decoded(path)
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, type) or callable(value):
            raise _LeftOut(_no_json(value))
        if isinstance(value, msgspec.Struct):
            return self._dict(msgspec.structs.asdict(value), where)
        if dataclasses.is_dataclass(value):
            members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self._dict(members, where)
        if callable(getattr(value, "model_dump", None)):
            return self._dict(value.model_dump(), where)  # a pydantic model
        return self.plain(_by_pydantic(value), where)


def _by_pydantic(value: Any) -> Any:
    """Durations, UUIDs, addresses and the like, by the rules of pydantic."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # slow to import

    try:
        made = to_jsonable_python(value)
    except PydanticSerializationError:
        raise _LeftOut(_no_json(value)) from None
    if made is value:
        raise _LeftOut(_no_json(value))
    return made


def _key(key: Any) -> str:
    """A key as JSON has it."""
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return printable(str.__str__(key))
    if callable(getattr(key, "tolist", None)) and getattr(key, "ndim", None) == 0:
        key = key.tolist()
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int | float):
        return str(key)
    if isinstance(key, datetime.date | datetime.time):
        return key.isoformat()
    if isinstance(key, os.PathLike):
        path = os.fspath(key)
        return printable(path) if isinstance(path, str) else _decoded(path)
    raise _LeftOut(f"a {type(key).__name__} cannot be a key")


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _LeftOut("its bytes are not UTF-8 text") from None


def _said(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # of the user's own class
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _shown(key: Any) -> str:
    try:
        return printable(repr(key))[:80]
    except Exception:
        return type(key).__name__


def _no_json(value: Any) -> str:
    name = f"class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return f"{name} cannot be converted to JSON"
