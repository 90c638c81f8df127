"""Parameters that the rollout fills in: found by their type when a tool is made, filled in when it is called.

The model neither sees such a parameter nor can set it.
"""

from __future__ import annotations

import random
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from rollway.tools.context import FromRollout, Notes, RolloutContext
from rollway.tools.sandboxes.protocol import Sandbox

_WHOLE = "the context itself"
_SOURCES: dict[Any, str] = {  # the attribute of `RolloutContext` by the parameter's type
    Sandbox: "sandbox",
    random.Random: "random",
    Notes: "notes",
    RolloutContext: _WHOLE,
    FromRollout.WORKSPACE: "workspace",
}


class NoSandbox(Exception):
    """A tool asks for a sandbox, and the rollout has none."""


class ContextParameter(msgspec.Struct, frozen=True):
    """One such parameter of a tool."""

    name: str
    source: str  # of `_SOURCES`
    needs_sandbox: bool = False  # a rollout without one cannot call the tool


def context_parameter(name: str, hint: Any) -> ContextParameter | None:
    """The parameter, if its type is one that a rollout fills in (``X | None`` of it, too), else ``None``."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not types.NoneType]
        optional = len(members) < len(typing.get_args(hint))
        if len(members) != 1:
            return None
        hint = members[0]
    if typing.get_origin(hint) is Annotated:
        marked = FromRollout.WORKSPACE in hint.__metadata__
        hint = FromRollout.WORKSPACE if marked else hint.__origin__
    try:
        source = _SOURCES.get(hint)
    except TypeError:  # a type that cannot be hashed is none of these
        return None
    if source is None:
        return None
    return ContextParameter(name, source, hint is Sandbox and not optional)


def fill_in(parameters: Sequence[ContextParameter], context: RolloutContext | None) -> dict[str, Any]:
    """The parameters' values in one rollout, by name. Without a context, those of a new one.

    Raises:
        NoSandbox: one must be a sandbox, and the rollout has none.
    """
    context = RolloutContext() if context is None else context
    values = {}
    for parameter in parameters:
        value = context if parameter.source == _WHOLE else getattr(context, parameter.source)
        if value is None and parameter.needs_sandbox:
            raise NoSandbox
        values[parameter.name] = value
    return values
