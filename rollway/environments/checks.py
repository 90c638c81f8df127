"""What an environment's attributes must be, looked at before anything is made of them.

Every fault is one `UserError` line that names the environment and the attribute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from typing import Any, get_args

import msgspec

from rollway.environments.base import Environment, Reward, RewardPlace, environment_name, named_rewards
from rollway.environments.signatures import HOOKS, hook_fault, reward_fault
from rollway.errors import UserError, in_short
from rollway.tools import Tool
from rollway.tools.sandboxes import Mount, SandboxLimits, SandboxSpec


def check_environment(environment: Environment) -> None:
    """See that ``name``, ``pass_threshold``, ``tools``, ``toolsets`` and ``rewards`` are what they should be,
    and that hooks and rewards can be called as they are called.

    Raises:
        UserError: one is not.
    """
    for hook in HOOKS:
        fault = hook_fault(hook, getattr(environment, hook))
        if fault is not None:
            raise UserError(f"environment {type(environment).__name__!r}: {fault}")
    for attribute in ("name", "pass_threshold", "tools", "toolsets", "rewards"):
        _read(environment, attribute)
    if not isinstance(environment.name, str | None):
        raise _wrong(environment, "name", environment.name, "a text")
    threshold = environment.pass_threshold
    if not _is_number(threshold):
        raise _wrong(environment, "pass_threshold", threshold, "a number, such as 1.0")
    _check_tools(environment, "tools", environment.tools)
    if not isinstance(environment.toolsets, Mapping):
        raise _wrong(environment, "toolsets", environment.toolsets, "a dict from names to lists of tools")
    for name, tools in environment.toolsets.items():
        _check_tools(environment, f"toolsets[{name!r}]", tools)
    check_rewards(environment)


def check_rewards(environment: Environment) -> None:
    """See that ``rewards`` is a list of functions that can be called as rewards are, with names of their own.

    Raises:
        UserError: it is not.
    """
    _read(environment, "rewards")
    if not _is_list(environment.rewards):
        raise _wrong(environment, "rewards", environment.rewards, "a list of functions, or of Reward(...)")
    for entry in environment.rewards:
        if not callable(entry.function if isinstance(entry, Reward) else entry):
            raise _wrong(environment, "rewards", environment.rewards, "functions, or Reward(function)", entry)
        if isinstance(entry, Reward) and not (_is_number(entry.weight) and isinstance(entry.name, str)):
            wanted = "Reward(function, weight=a number, name=a text)"
            raise _wrong(environment, "rewards", environment.rewards, wanted, entry)
        if isinstance(entry, Reward) and not _are_weights(entry.weights):
            wanted = "Reward(function, weights=a dict from names to numbers)"
            raise _wrong(environment, "rewards", environment.rewards, wanted, entry)
        if isinstance(entry, Reward) and entry.where not in get_args(RewardPlace):
            wanted = f"Reward(function, where={' or '.join(map(repr, get_args(RewardPlace)))})"
            raise _wrong(environment, "rewards", environment.rewards, wanted, entry)
    owner = environment_name(environment)
    try:
        rewards = named_rewards(environment)
    except ValueError as error:
        raise UserError(str(error)) from None
    for reward in rewards:
        fault = reward_fault(reward.function, type(environment))
        if fault is not None:
            raise UserError(f"environment {owner!r}: its reward {reward.name!r} {fault}")


def check_spec(environment: Environment, spec: Any) -> None:
    """See that what `sandbox_for` returned is a sandbox's spec.

    Raises:
        UserError: it is not.
    """
    if spec is None:
        return
    if not isinstance(spec, SandboxSpec):
        raise _wrong(environment, "sandbox", spec, "a SandboxSpec, as in SandboxSpec(backend='bubblewrap')")
    if not isinstance(spec.limits, SandboxLimits):
        raise _wrong(environment, "sandbox.limits", spec.limits, "SandboxLimits(...)")
    for mount in spec.mounts if _is_list(spec.mounts) else ():
        if not isinstance(mount, Mount):
            raise _wrong(environment, "sandbox.mounts", spec.mounts, "Mount(source, target)", mount)
    try:
        msgspec.convert(msgspec.to_builtins(spec), SandboxSpec)
    except (msgspec.ValidationError, TypeError) as error:
        raise UserError(f"environment {environment_name(environment)!r}: its sandbox: {error}") from None


def _read(environment: Environment, attribute: str) -> None:
    """A property is the user's own code, which may raise."""
    try:
        getattr(environment, attribute)
    except UserError:
        raise
    except Exception as error:
        name, told = type(environment).__name__, f"{type(error).__name__}: {error}"
        raise UserError(f"environment {name!r}: its {attribute} raised {told}") from error


def _check_tools(environment: Environment, name: str, tools: Any) -> None:
    if not _is_list(tools):
        raise _wrong(environment, name, tools, "a list of tools")
    for entry in tools:
        if not isinstance(entry, Tool):
            raise _wrong(environment, name, tools, "tools: decorate the functions with @tool", entry)


def _are_weights(weights: Any) -> bool:
    if weights is None:
        return True
    names = isinstance(weights, Mapping) and all(isinstance(name, str) for name in weights)
    return names and bool(weights) and all(map(_is_number, weights.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_list(value: Any) -> bool:
    """All rollouts read it, so an iterator, which is empty after the first time, is none."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Iterator)


def _wrong(environment: Environment, name: str, value: Any, wanted: str, entry: Any = None) -> UserError:
    shown = in_short(value if entry is None else entry)
    what = f"is {shown}; it must be" if entry is None else f"holds {shown}; it must hold"
    return UserError(f"environment {environment_name(environment)!r}: its {name} {what} {wanted}")
