"""Scoring one trajectory: every reward function is asked, and a function that fails is never a 0.

A reward is either a finite number that all functions agreed to give, or absent with the reason beside it.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import numbers
import traceback
from collections.abc import Mapping, Sequence

import msgspec

from rollway.clock import RolloutClock
from rollway.environments.base import Environment, Reward, RewardFunction, Task, named_rewards
from rollway.environments.calling import Hooks, hook_threads
from rollway.limits import HOOK_SECONDS
from rollway.scoring.asking import Question, ask_all, kind_of
from rollway.stored.lines import REWARD_ERROR
from rollway.sums import exact_sum
from rollway.tools.pool_records import CallResult
from rollway.tools.sandboxes import Sandbox
from rollway.trajectory import FAILURES, ErrorRecord, Trajectory

MOST_TRACEBACK = 8_000
"""Characters of a traceback that are kept, from its end."""


class NoSandbox(Exception):
    """A reward function looks into the rollout's sandbox, and there is none."""


async def score_trajectory(
    environment: Environment,
    task: Task,
    trajectory: Trajectory,
    sandbox: Sandbox | None = None,
    *,
    hooks: Hooks | None = None,
) -> None:
    """Fill in ``rewards`` and ``reward`` (the weighted sum), or leave ``reward`` at None and say why.

    A function may return several numbers by name, each of which has an entry of its own. One that raises, or
    returns anything but finite numbers, has no entry in ``rewards``; the others keep theirs, and ``error``
    tells of the first that failed. Rollouts that failed (`FAILURES`) are not scored. What an earlier scoring
    left is replaced. ``sandbox`` is the one that the rollout left, for the functions that ask for it.

    Functions that are not async run in a thread, or in a process where their `Reward` says so, and the event
    loop goes on meanwhile. One that has not returned by its deadline has failed with a ``TimeoutError``.
    ``hooks`` gives the threads and the deadline; without it they are made for this call, and the deadline is
    `HOOK_SECONDS`.

    Raises:
        ValueError: two of the environment's rewards have one name.
    """
    await score_with(named_rewards(environment), task, trajectory, sandbox, hooks=hooks)


async def score_with(
    rewards: Sequence[Reward],
    task: Task,
    trajectory: Trajectory,
    sandbox: Sandbox | None = None,
    *,
    hooks: Hooks | None = None,
) -> None:
    """`score_trajectory` with rewards whose names are filled in and differ."""
    forget_scores(trajectory)
    if trajectory.stop_reason in FAILURES or not rewards:
        return
    if hooks is not None:
        answers = await _answers(rewards, task, trajectory, sandbox, hooks)
    else:
        with hook_threads(1) as pool:
            hooks = Hooks(pool, timeout=HOOK_SECONDS, clock=RolloutClock(trajectory.id))
            answers = await _answers(rewards, task, trajectory, sandbox, hooks)
    failures: list[ErrorRecord] = []
    parts: list[float] = []
    for reward, came in zip(rewards, answers, strict=True):
        try:
            if came.error is not None:
                raise came.error
            parts += enter(trajectory, reward, as_numbers(came.value, reward))
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            failures.append(_record(reward.name, error))
    total = exact_sum(parts) if all(map(math.isfinite, parts)) else math.inf
    if not failures and not math.isfinite(total):
        told = f"the weighted sum of the rewards is {total}"
        failures.append(ErrorRecord(kind="OverflowError", message=told, where=REWARD_ERROR))
    if failures:
        trajectory.error = _joined(failures, trajectory.error)
    else:
        trajectory.reward = total


def forget_scores(trajectory: Trajectory) -> None:
    """Take away what an earlier scoring left, its error included."""
    trajectory.rewards = {}
    trajectory.reward = None
    if trajectory.error and trajectory.error.where.startswith(REWARD_ERROR):
        trajectory.error = None


def needs_sandbox(function: RewardFunction) -> bool:
    """Does a reward function have a parameter named ``sandbox``?"""
    code = getattr(function, "__code__", None)
    if code is not None and not hasattr(function, "__wrapped__"):  # asked for every rollout: a quick answer
        return "sandbox" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return "sandbox" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in C: it is taken to follow the protocol
        return False


def enter(trajectory: Trajectory, reward: Reward, named: Mapping[str, float]) -> list[float]:
    """Enter what a function returned into the record; the parts of the weighted sum that come of it.

    Raises:
        ValueError: there is a reward of one of these names already.
    """
    twice = [name for name in named if name in trajectory.rewards]
    if twice:
        raise ValueError(f"it returned {twice[0]!r}, which is the name of another reward, too")
    trajectory.rewards |= named
    if reward.weights is None:
        return [reward.weight * value for value in named.values()]
    return [reward.weight * reward.weights.get(name, 0.0) * value for name, value in named.items()]


async def _answers(
    rewards: Sequence[Reward], task: Task, trajectory: Trajectory, sandbox: Sandbox | None, hooks: Hooks
) -> list[CallResult]:
    """What each function gave."""
    answers: dict[str, CallResult] = {}
    questions: list[Question] = []
    for reward in rewards:
        if not needs_sandbox(reward.function):
            questions.append(Question(reward, (trajectory, task)))
        elif sandbox is not None:
            questions.append(Question(reward, (trajectory, task), {"sandbox": sandbox}))
        else:
            told = (
                f"{reward.name!r} needs the rollout's sandbox, but there is none: run with --record-tools to "
                "record it, or give the environment a sandbox"
            )
            answers[reward.name] = CallResult(error=NoSandbox(told))
    for asked, came in zip(questions, await ask_all(questions, hooks), strict=True):
        answers[asked.reward.name] = came
    return [answers[reward.name] for reward in rewards]


def as_numbers(answer: object, reward: Reward) -> dict[str, float]:
    """What a reward function returned, by name: several numbers as they are named, or one under its own.

    Raises:
        TypeError, ValueError: something in it is no finite number, or no name; or it lacks a name that
            ``reward.weights`` gives.
    """
    if not isinstance(answer, Mapping):
        if reward.weights is not None:
            raise TypeError(f"it has weights for {', '.join(reward.weights)}, but returned one number")
        return {reward.name: as_number(answer)}
    wrong = [name for name in answer if not (isinstance(name, str) and name)]
    if wrong or not answer:
        shown = f"the name {wrong[0]!r}" if wrong else "no number at all"
        raise TypeError(f"a reward must be a number, or a dict from names to numbers; it returned {shown}")
    lacking = [name for name in reward.weights or () if name not in answer]
    if lacking:
        raise ValueError(f"it returned {', '.join(answer)}, without {lacking[0]!r}, which has a weight")
    return {name: _named_number(name, value) for name, value in answer.items()}


def _named_number(name: str, value: object) -> float:
    try:
        return as_number(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise type(error)(f"{name!r}: {error}") from None


def as_number(answer: object) -> float:
    """A reward function's answer as a float: a bool, a real number, or a NumPy or torch scalar.

    Raises:
        TypeError: it is none of these.
        ValueError: it is not finite.
    """
    scalar = getattr(answer, "item", None)
    if callable(scalar) and getattr(answer, "ndim", None) == 0:
        answer = scalar()
    if not isinstance(answer, numbers.Real):
        shown = repr(answer)
        raise TypeError(f"a reward must be a number, got {type(answer).__name__} {shown[:80]}")
    value = float(answer)
    if not math.isfinite(value):
        raise ValueError(f"a reward must be finite, got {value}")
    return value


def _record(name: str, error: BaseException) -> ErrorRecord:
    told = "".join(traceback.format_exception(error))
    kind, message = kind_of(error)
    return ErrorRecord(
        kind=kind,
        message=message,
        where=REWARD_ERROR + name,
        traceback=told[-MOST_TRACEBACK:],
    )


def _joined(failures: Sequence[ErrorRecord], before: ErrorRecord | None) -> ErrorRecord:
    """The first failure, its message telling what else is wrong."""
    first, *others = failures
    told = [f"also failed: {other.where.removeprefix(REWARD_ERROR)} ({other.kind})" for other in others]
    if before:
        told.append(f"the rollout itself: {before.kind}: {before.message}")
    return msgspec.structs.replace(first, message="; ".join([first.message, *told])) if told else first
