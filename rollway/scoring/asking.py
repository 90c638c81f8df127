"""Asking reward functions: what each gave for one trajectory, or why there is nothing, whatever they do.

The invariant: every function has an answer by its deadline, and none keeps another from being asked.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rollway.environments.base import Reward
from rollway.environments.calling import Call, Hooks
from rollway.tools.pool import is_async
from rollway.tools.pool_records import CallResult, RaisedInProcess

NEEDS_MAIN_THREAD = "signal only works in main thread"
"""How Python refuses a function that sets a signal's handler on another thread."""

_log = logging.getLogger(__name__)


class Question(msgspec.Struct, frozen=True):
    """A reward function, and what it is called with."""

    reward: Reward
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return f"reward:{self.reward.name}"


async def ask_all(questions: Sequence[Question], hooks: Hooks) -> list[CallResult]:
    """The answers, in order. Sync functions that follow each other are called in one go."""
    answers: list[CallResult] = []
    while len(answers) < len(questions):
        begin = end = len(answers)
        while end < len(questions) and not _in_process(questions[end].reward):
            end += 1
        if end == begin:
            answers.append(await _ask_process(questions[begin], hooks))
            continue
        together = questions[begin:end]
        came = await hooks.call_all(
            [Call(one.name, one.reward.function, one.args, one.kwargs) for one in together]
        )
        answers += [await _again_if_refused(*each, hooks) for each in zip(together, came, strict=True)]
    return answers


def _in_process(reward: Reward) -> bool:
    return reward.where == "process" and not is_async(reward.function)


async def _again_if_refused(asked: Question, came: CallResult, hooks: Hooks) -> CallResult:
    """One that sets a timer (math-verify does) works on the main thread only, and a process has one of its
    own."""
    if not isinstance(came.error, ValueError) or NEEDS_MAIN_THREAD not in str(came.error):
        return came
    _log.info("%s sets a signal: it runs in a process; Reward(..., where='process') says so", asked.name)
    return await _ask_process(asked, hooks)


async def _ask_process(asked: Question, hooks: Hooks) -> CallResult:
    with hooks.clock.doing(asked.name):
        came = await hooks.pool.call_in_process(
            _as_text, (asked.reward.function, *asked.args), asked.kwargs, timeout=hooks.timeout
        )
    if came.timed_out:
        told = f"{asked.name} did not return within {hooks.timeout:g} s, in rollout {hooks.clock.name}"
        _log.warning("%s; its process is killed", told)
        return msgspec.structs.replace(came, error=TimeoutError(told))
    if came.error is not None:
        return came
    return msgspec.structs.replace(came, value=json.loads(came.value.content))


def _as_text(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """In the process, from which only text comes back."""
    value = function(*args, **kwargs)
    if asyncio.iscoroutine(value):
        value = asyncio.run(value)
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError):
        raise TypeError(f"a reward must be a number, got {type(value).__name__} {repr(value)[:80]}") from None


def _plain(value: Any) -> Any:
    """A NumPy or torch scalar as a number."""
    return value.item()


def kind_of(error: BaseException) -> tuple[str, str]:
    """The type of an error and its message; what a process raised is told as both in one."""
    if isinstance(error, RaisedInProcess):
        kind, colon, message = str(error).partition(": ")
        return (kind, message) if colon else (str(error), "")
    return type(error).__name__, str(error)
