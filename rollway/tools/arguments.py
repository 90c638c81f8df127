"""The arguments of a call, from the text that a model wrote to a dict.

What is no JSON object is an error in words that the model can act on; no text, however odd or deep, raises
anything but `InvalidArguments`.
"""

from __future__ import annotations

import json
import math
import reprlib
from typing import Any

from rollway.json_keys import repeated_key

_EXCERPT = 40  # characters of the text that are shown on each side of a fault


class InvalidArguments(ValueError):
    """Arguments that the tool cannot be called with. The message is for the model."""


def parse_arguments(text: str | None) -> dict[str, Any]:
    """The JSON object in ``text``. ``None`` and blank text mean no arguments.

    NaN, infinities and numbers beyond a float's range are no JSON, and no key may stand twice in an object.

    Raises:
        InvalidArguments: the text is no JSON, or a JSON value other than an object.
    """
    if text is None:
        return {}
    if not isinstance(text, str):
        raise InvalidArguments(f"the arguments must be a JSON object, not a Python {type(text).__name__}")
    if not text.strip():
        return {}
    value = _decode(text)
    if isinstance(value, dict):
        twice = repeated_key(text)
        if twice is not None:
            raise InvalidArguments(f"the arguments give the key {shown(twice)} twice; write every key once")
        return value
    hint = " that is not wrapped in a string" if isinstance(value, str) else ""
    raise InvalidArguments(
        f'the arguments must be a JSON object{hint}, such as {{"parameter": value}}; got {shown(value)}'
    )


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidArguments(f"the arguments are not valid JSON: {_fault(error)}") from None
    except RecursionError:
        raise InvalidArguments("the arguments are nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits, or one of the refusals below
        raise InvalidArguments(f"the arguments are not valid JSON: {error}") from None


def _fault(error: json.JSONDecodeError) -> str:
    before = error.doc[max(0, error.pos - _EXCERPT) : error.pos]
    after = error.doc[error.pos : error.pos + _EXCERPT]
    if error.pos >= len(error.doc):
        return f"{error.msg}, at the end of the text, after {before!r}"
    hint = r" (write a line break inside a string as \n)" if error.msg.startswith("Invalid control") else ""
    what = error.msg.removesuffix(" at")
    return f"{what} at character {error.pos + 1}, after {before!r}, before {after!r}{hint}"


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:_EXCERPT]} is out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)  # making one takes longer


class _Shown(reprlib.Repr):
    """JSON-like and short, whatever the size and depth of the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxdict = self.maxlist = 4
        self.maxlevel = 3
        self.maxstring = self.maxother = 80
        self.maxlong = 40

    def repr_str(self, value: str, level: int) -> str:
        half = self.maxstring // 2
        short = value if len(value) <= self.maxstring else f"{value[:half]}...{value[-half:]}"
        return json.dumps(short, ensure_ascii=False)

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802 (reprlib looks it up by this name)
        return "null"


def shown(value: Any) -> str:
    """A JSON value in at most a line or so, for a message."""
    return _Shown().repr(value)
