"""From plain values to a config. Every mistake is one line: where it stands, which field, what is wrong."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from rollway.errors import UserError, nearest
from rollway.evaluation.config.eval_config import EvalConfig


def validate(
    values: Mapping[str, Any], source: str, overrides: Mapping[str, Any] | None = None
) -> EvalConfig:
    """Check plain values; ``source`` names where they come from, but for the dotted ``overrides``.

    Raises:
        UserError: an unknown field or a wrong value.
    """
    try:
        return EvalConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(_complaint(error, source, overrides or {})) from None


def _complaint(error: ValidationError, source: str, overrides: Mapping[str, Any]) -> str:
    faults = error.errors(include_url=False)
    first = faults[0]
    path = [str(part) for part in first["loc"]]
    context = first.get("ctx", {})
    if first["type"] == "in_section" and context.get("field"):
        path.append(context["field"])
    dotted = ".".join(path)
    if first["type"] == "extra_forbidden":
        message = f"unknown field{nearest(path[-1], _fields_at(path[:-1]))}"
    elif first["type"] == "missing":
        message = "is missing"
    else:
        message = first["msg"].removeprefix("Value error, ").removeprefix(f"{dotted} ")
        message = message.replace("Input should be", "should be")
        message = message.replace("a valid dictionary or instance of", "a section of fields, a")
        if first["type"] not in ("in_section", "value_error"):
            message += f", not {first['input']!r}"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if any(f"{dotted}.".startswith(f"{name}.") for name in overrides):
        source = "the command line"
    return f"{source}: {dotted + ': ' if dotted else ''}{message}{more}"


def _fields_at(path: Sequence[str]) -> list[str]:
    """The names of the fields in the section at ``path``."""
    section: Any = EvalConfig
    for name in path:
        hint = section.model_fields[name].annotation if name in section.model_fields else None
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        section = next((option for option in options if _is_section(option)), None)
        if section is None:
            return []
    return list(section.model_fields)


def _is_section(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)
