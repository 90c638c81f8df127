"""The arguments of a shipped environment: they come from a config, where a value may be of any type.

One of a wrong type is refused when the environment is made, and never taken for something that it is not.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from rollway.errors import UserError, in_short


def check_argument(environment: str, name: str, value: Any, kind: Any, wanted: str) -> None:
    """See that an argument is of its type. A path object passes for its text.

    Args:
        kind: the type, as msgspec reads it.
        wanted: the same in words.

    Raises:
        UserError: it is not.
    """
    try:
        msgspec.convert(os.fspath(value) if isinstance(value, os.PathLike) else value, kind)
    except msgspec.ValidationError:
        raise UserError(
            f"{environment}: environment_args.{name} must be {wanted}, not {in_short(value)}"
        ) from None
