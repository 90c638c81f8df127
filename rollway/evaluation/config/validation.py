"""From plain values to a config. Every mistake is one line: where it stands, which field, what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from rollway.errors import UserError
from rollway.evaluation.config.eval_config import EvalConfig
from rollway.evaluation.config.faults import faults


def validate(
    values: Mapping[str, Any], source: str, overrides: Mapping[str, Any] | None = None
) -> EvalConfig:
    """Check plain values; ``source`` names where they come from, but for the dotted ``overrides``.

    Raises:
        UserError: an unknown field or a wrong value.
    """
    try:
        return msgspec.convert(values, EvalConfig)
    except msgspec.ValidationError:
        raise UserError(_complaint(values, source, overrides or ())) from None


def _complaint(values: Mapping[str, Any], source: str, overrides: Iterable[str]) -> str:
    (path, message), *others = faults(EvalConfig, values)
    given = [tuple(name.split(".")) for name in overrides]
    if any(path[: len(names)] == names for names in given):
        source = "the command line"
    place = ".".join(path).replace(".[", "[")
    more = f" (and {len(others)} more)" if others else ""
    return f"{source}: {place}{': ' if place else ''}{message}{more}"
