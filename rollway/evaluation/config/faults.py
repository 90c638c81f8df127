"""What is wrong with plain values, as far as they can be told apart: where each fault stands, and its mend.

msgspec decides what fits, and stops at the first fault. Here the same types are walked to say of every part
that does not fit where it stands, and in a user's words what should stand there.
"""

from __future__ import annotations

import datetime
import typing
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union

import msgspec
import msgspec.inspect

from rollway.errors import in_short, nearest

Path = tuple[str, ...]

_BOUNDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}


class Fault(NamedTuple):
    """One thing that is wrong."""

    path: Path  # names of fields and keys, and of an item of a list its place: ("stop", "[0]")
    message: str


def faults(kind: Any, value: Any, path: Path = ()) -> Iterator[Fault]:
    """All that keeps ``value`` from being a ``kind``, a type that msgspec can convert to."""
    try:
        msgspec.convert(value, kind)
        return
    except msgspec.ValidationError as error:
        told = str(error)
    options = _options(kind) if isinstance(value, Mapping) else []
    struct = next((option for option in options if _is_struct(option)), None)
    found = [] if struct is None else _wrong_names(struct, value, path)
    for name, inner_kind, inner in _parts(kind, value):
        found += faults(inner_kind, inner, (*path, name))
    if found:
        yield from found
    elif struct is not None:
        yield _of_a_check(struct, told, path)
    else:
        yield Fault(path, f"should be {_in_words(kind)}, not {in_short(value)}{_mend(kind, value)}")


def _wrong_names(struct: type[msgspec.Struct], value: Mapping[Any, Any], path: Path) -> list[Fault]:
    fields = {field.name: field.required for field in msgspec.structs.fields(struct)}
    unknown = [str(name) for name in value if name not in fields]
    missing = [name for name, required in fields.items() if required and name not in value]
    return [
        *(Fault((*path, name), f"unknown field{nearest(name, fields)}") for name in unknown),
        *(Fault((*path, name), "is missing") for name in missing),
    ]


def _parts(kind: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """The name, type and value of each part that can be looked at by itself."""
    for option in _options(kind):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if isinstance(value, Mapping) and _is_struct(option):
            for field in msgspec.structs.fields(option):
                if field.name in value:
                    yield field.name, field.type, value[field.name]
        elif isinstance(value, Mapping) and origin is dict:
            for name, inner in value.items():
                yield str(name), arguments[0], name
                yield str(name), arguments[1], inner
        elif isinstance(value, list | tuple) and origin in (list, tuple):
            for index, inner in enumerate(value):
                yield f"[{index}]", arguments[0], inner


def _options(kind: Any) -> list[Any]:
    """The types that a value may be of, each without its bounds."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _options(arguments[0])
    if origin in (Union, UnionType):
        return [option for argument in arguments for option in _options(argument)]
    return [kind]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _of_a_check(struct: type[msgspec.Struct], told: str, path: Path) -> Fault:
    """The complaint of a ``__post_init__``: at the field with whose name it begins, if it begins with one."""
    section = f"{path[-1]}." if path else ""
    head, _, rest = told.removeprefix(section).partition(" ")
    names = head.rstrip(":").split(".")
    if names[0] in struct.__struct_fields__ and (head.endswith(":") or rest.startswith("must ")):
        return Fault((*path, *names), rest)
    return Fault(path, told)


def _in_words(kind: Any) -> str:
    """``a whole number of at least 1 or null``."""
    words = list(_words(msgspec.inspect.type_info(kind)))
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _words(info: msgspec.inspect.Type) -> Iterator[str]:
    match info:
        case msgspec.inspect.UnionType():
            for option in sorted(info.types, key=lambda each: isinstance(each, msgspec.inspect.NoneType)):
                yield from _words(option)
        case msgspec.inspect.LiteralType():
            yield from map(repr, info.values)
        case msgspec.inspect.IntType():
            yield f"a whole number{_bounds(info)}"
        case msgspec.inspect.FloatType():
            yield f"a number{_bounds(info)}"
        case msgspec.inspect.StrType():
            yield "text"
        case msgspec.inspect.BoolType():
            yield "true or false"
        case msgspec.inspect.NoneType():
            yield "null"
        case msgspec.inspect.StructType() | msgspec.inspect.DictType():
            yield "a section of fields"
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            yield "a list"
        case _:
            raise AssertionError(f"no words for a field of {info}")  # a new kind of field needs some


def _bounds(info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    given = [(word, getattr(info, name)) for name, word in _BOUNDS.items()]
    return "".join(f" {word} {bound:g}" for word, bound in given if bound is not None)


def _mend(kind: Any, value: Any) -> str:
    """A hint behind a value that is nearly right."""
    if isinstance(value, str):
        literals = [option for option in _options(kind) if typing.get_origin(option) is typing.Literal]
        return nearest(value, [choice for option in literals for choice in typing.get_args(option)])
    quoted = str in _options(kind) and isinstance(value, int | float | datetime.date)
    return "; put it in quotes" if quoted else ""
