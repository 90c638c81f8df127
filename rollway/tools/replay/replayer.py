"""Answers a rollout's calls from the record of an earlier one. Never runs a tool.

A recorded answer is only true after all that was recorded before it. So the first call that is not on record,
and the first turn that leaves a recorded call out, is where the rollout leaves its record: the other calls of
that turn may still be answered, those of later turns no more.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from rollway.tools.arguments import InvalidArguments, parse_arguments
from rollway.tools.context import RolloutContext
from rollway.tools.execution import ExecutedCall, answer_without_running
from rollway.tools.replay.records import RecordedCall, Recording
from rollway.trajectory import ToolCall, ToolErrorKind

_TOLD = 200  # characters of arguments in `ToolError.error`


class ToolReplayer:
    """A `CallExecutor`, one for each rollout: ``AgentLoop(..., execute=ToolReplayer(recording))``."""

    def __init__(self, recording: Recording) -> None:
        self._turns: defaultdict[int, dict[int, RecordedCall]] = defaultdict(dict)  # not used yet
        for entry in recording.calls:
            self._turns[entry.turn][entry.position] = entry
        self._seen: defaultdict[int, int] = defaultdict(int)  # calls that came, by turn
        self._answered = 0
        self._refused = 0
        self._left_at: dict[str, Any] | None = None

    async def __call__(
        self,
        call: ToolCall,
        *,
        turn: int,
        context: RolloutContext,
        run: Callable[[], Awaitable[ExecutedCall]],
    ) -> ExecutedCall:
        """The recorded answer under the call's own id, or an error that says where the record was left."""
        position = self._seen[turn]
        self._seen[turn] += 1
        self._note_left_out(turn)
        entry = None if self._left_before(turn) else self._take(call, turn, position)
        if entry is not None:
            self._answered += 1
            return _unfinished(call, turn) if entry.answer is None else _under_id(entry.answer, call, turn)
        self._refused += 1
        if self._left_at is None:
            self._left_at = _departure(turn, position, self._turns[turn].get(position), call)
        return _refused(call, turn, self._left_at)

    def metadata(self) -> dict[str, Any]:
        """For `Trajectory.metadata["replay"]`.

        ``answered`` and ``refused`` count calls, ``unused`` the recorded calls that were not asked for.
        ``left_at`` is ``None``, or the turn and the call in it (both 1-based), what stands on record there,
        and what came; either is ``None`` where there is nothing.
        """
        unused = sum(len(entries) for entries in self._turns.values())
        return {
            "answered": self._answered,
            "refused": self._refused,
            "unused": unused,
            "left_at": self._left_at,
        }

    def _left_before(self, turn: int) -> bool:
        return self._left_at is not None and self._left_at["turn"] < turn

    def _note_left_out(self, turn: int) -> None:
        """A recorded call of an earlier turn that never came is where the record was left."""
        if self._left_at is not None:
            return
        for earlier in sorted(self._turns):
            if earlier < turn and self._turns[earlier]:
                position = min(self._turns[earlier])
                self._left_at = _departure(earlier, position, self._turns[earlier][position], None)
                return

    def _take(self, call: ToolCall, turn: int, position: int) -> RecordedCall | None:
        """The record of the call: the one at its place if it is that, else an equal one of the turn."""
        entries = self._turns[turn]
        wanted = _identity(call)
        for place in (position, *entries):
            if place in entries and _identity(entries[place]) == wanted:
                return entries.pop(place)
        return None


def _identity(call: ToolCall | RecordedCall) -> tuple[str, str]:
    """The name, and the arguments in one spelling where they are JSON."""
    try:
        arguments = parse_arguments(call.arguments)
    except InvalidArguments:
        return call.name, call.arguments
    return call.name, json.dumps(arguments, sort_keys=True)


def _under_id(answer: ExecutedCall, call: ToolCall, turn: int) -> ExecutedCall:
    """The answer as one to this call. No tool ran, so no time passed."""
    replace = msgspec.structs.replace
    result = replace(answer.result, call_id=call.id, duration=0.0, queued=0.0)
    error = answer.error and replace(answer.error, turn=turn, arguments=call.arguments)
    return replace(answer, result=result, error=error)


def _unfinished(call: ToolCall, turn: int) -> ExecutedCall:
    return answer_without_running(
        call,
        turn=turn,
        kind=ToolErrorKind.CANCELLED,
        error="the recorded rollout ended while the tool ran",
        told="Not finished: the rollout ended.",
    )


def _departure(turn: int, position: int, entry: RecordedCall | None, call: ToolCall | None) -> dict[str, Any]:
    return {"turn": turn, "call": position + 1, "expected": _named(entry), "got": _named(call)}


def _named(call: ToolCall | RecordedCall | None) -> dict[str, str] | None:
    return None if call is None else {"name": call.name, "arguments": call.arguments}


def _refused(call: ToolCall, turn: int, left_at: dict[str, Any]) -> ExecutedCall:
    return answer_without_running(
        call,
        turn=turn,
        kind=ToolErrorKind.NOT_ALLOWED,
        error=(
            f"not run, because it is not in the recording: the rollout diverged at turn {left_at['turn']}, "
            f"call {left_at['call']}: expected {_told(left_at['expected'])}, got {_told(left_at['got'])}"
        ),
        told="Not run: this is a replay, and this call was not recorded.",
    )


def _told(call: dict[str, str] | None) -> str:
    if call is None:
        return "nothing"
    arguments = call["arguments"]
    return f"{call['name']}({arguments if len(arguments) <= _TOLD else arguments[:_TOLD] + '...'})"
