"""Where reward functions come from: ``FILE.py:function``, or the environment of a run.

A `RewardSource` is plain data, so that a worker on another machine loads the very same functions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from rollway.environments.base import Environment, Reward, environment_name, named_rewards
from rollway.environments.checks import check_rewards
from rollway.environments.loading import import_file, load_environment
from rollway.environments.signatures import reward_fault
from rollway.environments.sources import file_digests, source_digests
from rollway.errors import UserError, nearest
from rollway.trajectory import Trajectory


class EnvironmentSource(msgspec.Struct, frozen=True):
    """An environment, as a run's ``config.yaml`` names it."""

    spec: str
    arguments: dict[str, Any] = {}
    text: str | None = None  # of its file; None when it is in no file

    def load(self) -> Environment:
        """Raises `UserError` when it cannot be loaded."""
        return load_environment(self.spec, self.arguments, source=self.text)


class FunctionSource(msgspec.Struct, frozen=True):
    """A function, or a `Reward`, in a user's file."""

    file: str  # an absolute path
    function: str
    text: str  # of the file


RewardSource = EnvironmentSource | FunctionSource


def function_source(spec: str) -> FunctionSource:
    """What ``FILE.py:function`` names. Of a file with one public function the name may be left out.

    Raises:
        UserError: no such file, it does not import, or there is no such function in it.
    """
    file, _, name = (spec, "", "") if spec.endswith(".py") else spec.rpartition(":")
    path = Path(file).expanduser()
    if path.suffix != ".py":
        raise UserError(f"--reward {spec!r}: give it as path/to/file.py:function")
    if not path.is_file():
        raise UserError(f"--reward {spec!r}: no file {path}")
    module = import_file(path, None)
    return FunctionSource(str(path.resolve()), name or _only_function(module, spec), path.read_text("utf-8"))


def load_rewards(source: RewardSource) -> list[Reward]:
    """The reward functions with names and weights, each called as ``function(trajectory, task)``.

    Raises:
        UserError: they cannot be loaded, or there are none.
    """
    if isinstance(source, FunctionSource):
        return [_from_file(source)]
    return rewards_of(source.load())


def rewards_of(environment: Environment) -> list[Reward]:
    """The environment's reward functions.

    Raises:
        UserError: it has none, or one that cannot be called as rewards are.
    """
    check_rewards(environment)
    rewards = named_rewards(environment)
    if not rewards:
        raise UserError(
            f"environment {environment_name(environment)!r} has no rewards; pass your own function with "
            "--reward path/to/file.py:function"
        )
    return rewards


def describe(source: RewardSource) -> str:
    """Where the functions come from, in one line."""
    if isinstance(source, FunctionSource):
        return f"{source.file}:{source.function}"
    return f"environment {source.spec}"


def source_of(source: RewardSource) -> dict[str, str]:
    """The files that the functions stand in, with their digests.

    Raises:
        UserError: one cannot be read.
    """
    try:
        if isinstance(source, FunctionSource):
            return file_digests(Path(source.file))
        return source_digests(source.spec)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from None


def needs_tasks(source: FunctionSource) -> bool:
    """Does the function look at the task's row? It may take the trajectory alone."""
    reward = _named(source)
    return not _takes_one(reward.function if isinstance(reward, Reward) else reward)


def _from_file(source: FunctionSource) -> Reward:
    found = _named(source)
    reward = found if isinstance(found, Reward) else Reward(found)
    function = reward.function
    if _takes_one(function):
        function = functools.partial(_without_task, function)  # which can go to another process
    fault = reward_fault(function)
    if fault is not None:
        raise UserError(f"{source.file}: {source.function!r} {fault}")
    return msgspec.structs.replace(reward, function=function, name=reward.name or source.function)


def _without_task(function: Callable[..., Any], trajectory: Trajectory, task: Mapping[str, Any]) -> Any:
    return function(trajectory)


def _named(source: FunctionSource) -> Any:
    module = import_file(Path(source.file), source.text)
    found = getattr(module, source.function, None)
    if isinstance(found, Reward) or callable(found):
        return found
    what = "is not a function" if found is not None else "does not exist"
    names = _functions(module)
    raise UserError(
        f"{source.file}: {source.function!r} {what}{nearest(source.function, names)}; "
        f"it has: {', '.join(names) or 'no function'}"
    )


def _only_function(module: ModuleType, spec: str) -> str:
    names = _functions(module)
    if not names:
        raise UserError(f"--reward {spec!r}: the file has no function(trajectory, task)")
    if len(names) > 1:
        raise UserError(
            f"--reward {spec!r}: name a function, as in {spec}:{names[0]}; it has: {', '.join(names)}"
        )
    return names[0]


def _functions(module: ModuleType) -> list[str]:
    """The public functions and rewards that the file itself defines."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (isinstance(value, Reward) or (inspect.isfunction(value) and value.__module__ == module.__name__))
    )


def _takes_one(function: Callable[..., Any]) -> bool:
    """Can the function be called with the trajectory, and not with the trajectory and the task?"""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in C: it is taken to follow the protocol
        return False
    return _accepts(signature, 1) and not _accepts(signature, 2)


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
