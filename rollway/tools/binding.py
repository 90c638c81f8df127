"""A model's arguments as a call of a typed function: validated and coerced by pydantic.

Pydantic sees the parameters under neutral names and the real ones as aliases, so no parameter's name can
collide with anything of pydantic's or of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from rollway.errors import nearest
from rollway.tools.arguments import InvalidArguments, shown

FAULTS_TOLD = 8  # in one message
PATH_TOLD = 120  # characters of where a fault lies


class SignatureBinder(msgspec.Struct, frozen=True):
    """Turns a dict of arguments into what the function is called with."""

    model: type[BaseModel]
    fields: dict[str, str]  # parameter -> the model's field
    positional: frozenset[str]  # parameters that can only be given by position
    filled: frozenset[str]  # parameters whose default is pydantic's (``x: int = Field(3)``)
    reserved: frozenset[str] = frozenset()  # parameters that are not the model's to give

    def bind(self, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Validate and coerce.

        Raises:
            InvalidArguments: naming every parameter that is wrong, missing or unknown.
        """
        try:
            values = self.model.model_validate(arguments)
        except ValidationError as error:
            raise InvalidArguments(self._explain(error, arguments)) from None
        extra = values.model_extra or {}
        if not self.reserved.isdisjoint(extra):
            unknown = [repr(name) for name in extra if name in self.reserved]
            raise InvalidArguments(explain({}, [], unknown, self.fields))
        given = values.model_fields_set
        args: list[Any] = []
        kwargs: dict[str, Any] = dict(extra)
        for name, field in self.fields.items():
            if name in self.positional:
                args.append(getattr(values, field))
            elif field in given or name in self.filled:
                kwargs[name] = getattr(values, field)
        return tuple(args), kwargs

    def _explain(self, error: ValidationError, arguments: dict[str, Any]) -> str:
        wrong: dict[str, list[str]] = {}
        missing: list[str] = []
        unknown: list[str] = []
        for fault in error.errors(include_url=False, include_context=False):
            absent = fault["type"].startswith("missing")
            path, value = _locate(fault["loc"], arguments, absent)
            if len(fault["loc"]) == 1 and fault["type"] == "missing":
                missing.append(repr(path))
            elif len(fault["loc"]) == 1 and fault["type"] == "extra_forbidden":
                unknown.append(f"{path!r}{nearest(path, self.fields)}")
            else:
                given = "" if absent else f", got {shown(value)}"
                wrong.setdefault(f"{path!r}{given}", []).append(_lower(fault["msg"]))
        return explain(wrong, missing, unknown, self.fields)


def explain(
    wrong: Mapping[str, Iterable[str]], missing: list[str], unknown: list[str], names: Iterable[str]
) -> str:
    """One message for everything that is wrong with a call's arguments, however much that is."""
    parts = [f"{place}: {' or '.join(dict.fromkeys(reasons))}" for place, reasons in wrong.items()]
    if len(parts) > FAULTS_TOLD:
        parts[FAULTS_TOLD:] = [f"{len(parts) - FAULTS_TOLD} more"]
    if missing:
        parts.append(f"missing {', '.join(missing)}")
    if unknown:
        known = ", ".join(names)
        parts.append(f"unknown {', '.join(unknown)}; " + (f"it takes {known}" if known else "it takes none"))
    return "; ".join(parts)


def _locate(location: tuple[int | str, ...], arguments: Any, absent: bool) -> tuple[str, Any]:
    """The path as a model would write it (``points[0].x``), and what stands there.

    Pydantic's locations also name members of unions, which are no part of the arguments: these are left out.

    Args:
        absent: the last step is what is not there.
    """
    path, value = "", arguments
    for depth, step in enumerate(location):
        wanted = absent and depth == len(location) - 1
        if isinstance(value, dict) and isinstance(step, str) and (step in value or wanted):
            path = f"{path}.{step}" if path else step
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and (step < len(value) or wanted):
            path, value = f"{path}[{step}]", value[step] if step < len(value) else None
    if len(path) > PATH_TOLD:
        path = f"{path[: PATH_TOLD // 2]}...{path[-PATH_TOLD // 2 :]}"
    return path, value


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
