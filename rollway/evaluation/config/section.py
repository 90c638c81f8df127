"""What every section of a config is: fields that are known, of the type they say, and not changed later.

Records of the engine are sections as they are: they are written down once, with their checks and defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec
import msgspec.inspect
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from rollway.errors import nearest

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Some fields of a config."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


def section_of(struct: type[_Struct]) -> tuple[BeforeValidator, PlainSerializer]:
    """A record of the engine as a section: same fields, same checks. Unpack it into an ``Annotated``."""
    return (
        BeforeValidator(lambda value: _read_struct(struct, value)),
        PlainSerializer(msgspec.to_builtins),
    )


def check_names(names: Iterable[str], fields: Iterable[str]) -> None:
    """Complain of the first of ``names`` that is none of ``fields``, and say which one is near.

    Raises:
        PydanticCustomError: there is such a name; the complaint is at it.
    """
    for name in names:
        if name not in fields:
            near = nearest(name, fields)
            raise PydanticCustomError("in_section", "unknown field{near}", {"near": near, "field": name})


def _read_struct(struct: type[_Struct], value: Any) -> _Struct:
    if isinstance(value, struct):
        return value
    if isinstance(value, dict):
        check_names(map(str, value), struct.__struct_fields__)
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").lstrip(".")
        message = message.replace("`", "") + _choices(struct, field)
        raise PydanticCustomError("in_section", "{message}", {"message": message, "field": field}) from None


def _choices(struct: type[msgspec.Struct], name: str) -> str:
    """Which values a field may have, where they can be counted: msgspec does not say."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        if field.name == name and isinstance(field.type, msgspec.inspect.LiteralType):
            return f"; it may be {' or '.join(map(repr, field.type.values))}"
    return ""
