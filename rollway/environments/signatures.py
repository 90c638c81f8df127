"""Can a user's hooks and reward functions be called as the engine calls them?

Told before the first rollout, by name and with what to write; a function that says nothing about its
parameters (built in C, say) is taken to follow the protocol.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

HOOKS = {
    "tasks": ("split",),
    "prompt": ("task",),
    "sandbox_for": ("task",),
    "prepare_sandbox": ("task", "sandbox"),
    "limits_for": ("task", "limits"),
    "setup": ("task",),
    "tools_for": ("task", "workspace"),
    "done": ("task", "workspace", "trajectory"),
    "teardown": ("task", "workspace", "trajectory"),
}
"""The hooks of an environment, and what each is called with, in this order."""

ASYNC_HOOKS = frozenset({"prepare_sandbox", "setup", "teardown"})
"""Those that may be async."""

NEEDS_ASYNC = frozenset({"prepare_sandbox"})
"""Those that must be, since all that they can do with a sandbox is."""

REWARD = "(trajectory, task), or (trajectory, task, sandbox)"

_OTHER_ENGINES = frozenset(
    {"completion", "completions", "prompt", "prompts", "response", "responses", "solution_str", "data_source"}
)
"""How reward functions of other engines call their first parameter, which is another thing there."""


def hook_fault(name: str, hook: Callable[..., Any]) -> str | None:
    """What is wrong with a bound hook's definition; ``None`` when nothing is."""
    expected = HOOKS[name]
    kind = "async def" if name in ASYNC_HOOKS else "def"
    written = f"{kind} {name}(self, {', '.join(expected)})"
    function = getattr(hook, "__func__", hook)
    is_async = inspect.iscoroutinefunction(function)
    if is_async and name not in ASYNC_HOOKS:
        return f"{name} must not be async; write {written}"
    if not _takes(hook, len(expected)):
        return f"{name} takes {_parameters(hook)} and is called with ({', '.join(expected)}); write {written}"
    plain = inspect.isfunction(function) and not hasattr(function, "__wrapped__")
    if name in NEEDS_ASYNC and plain and not is_async and function.__name__ == name:
        return f"{name} must be async; write {written}"
    return None


def reward_fault(function: Callable[..., Any], owner: type | None = None) -> str | None:
    """What is wrong with a reward function's parameters; ``None`` when nothing is.

    ``owner`` is the environment's class, in which a method may stand that was listed as a function.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    names = list(parameters)
    if _is_method(function, names, owner):
        name = getattr(function, "__name__", "reward")
        return (
            f"is a method that was listed as a function, so it gets no self; take self out, or list it as "
            f"self.{name} in a property: @property def rewards(self): return [self.{name}]"
        )
    if not _takes(function, 2, sandbox="sandbox" in parameters):
        return f"takes {_parameters(function)}; a reward is called with {REWARD}"
    if names and names[0] in _OTHER_ENGINES:
        return (
            f"takes {_parameters(function)}; a reward is called with {REWARD}: the answer is "
            "trajectory.answer, and the task's columns are task[...]"
        )
    return None


def _is_method(function: Callable[..., Any], names: list[str], owner: type | None) -> bool:
    if not names or names[0] != "self" or inspect.ismethod(function):
        return False
    listed = owner is not None and any(function in vars(base).values() for base in owner.__mro__)
    return listed or len(names) > 2


def _takes(function: Callable[..., Any], count: int, *, sandbox: bool = False) -> bool:
    """Can it be called with so many arguments by place, and a sandbox by name?"""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count, **({"sandbox": None} if sandbox else {}))
    except TypeError:
        return False
    return True


def _parameters(function: Callable[..., Any]) -> str:
    """The names of the parameters, as in ``(trajectory, task)``."""
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        star = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        shown.append(f"{star}{parameter.name}")
    return f"({', '.join(shown)})"
