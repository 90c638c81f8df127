"""A trajectory as one row of a table, and the schema that all rows have.

The invariant: the schema is fixed, whatever a run holds, so that a column of nulls has its type and the files
of two runs fit together. What a message has beside the typed fields is kept as JSON text, and nothing that
the model wrote is parsed or written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from rollway.trajectory import Message, TokenSequence, Trajectory, Turn

if TYPE_CHECKING:
    import pyarrow

_TEXTS = ("role", "content", "reasoning_content", "name", "tool_call_id")


def schema() -> pyarrow.Schema:
    """The columns of every export. Each may be null but for those of `Trajectory` that never are."""
    import pyarrow as pa

    text, number, whole = pa.string(), pa.float64(), pa.int64()
    named = pa.list_(pa.struct({"name": text, "value": number}))
    call = pa.struct({"id": text, "type": text, "function": pa.struct({"name": text, "arguments": text})})
    message = pa.struct({**dict.fromkeys(_TEXTS, text), "tool_calls": pa.list_(call), "other": text})
    turn = pa.struct(
        {
            "index": whole,
            "finish_reason": text,
            "parsed_by": text,
            "prompt_tokens": whole,
            "completion_tokens": whole,
            "cached_tokens": whole,
            "weight_version": text,
            "untrainable": text,
            "seconds": number,
        }
    )
    sequence = pa.struct(
        {
            "token_ids": pa.list_(whole),
            "loss_mask": pa.list_(pa.int8()),
            "logprobs": pa.list_(number),
            "turn_index": pa.list_(pa.int32()),
            "weight_versions": pa.list_(text),
        }
    )
    tool_error = pa.struct({"turn": whole, **dict.fromkeys(_TOOL_ERROR, text)})
    return pa.schema(
        {
            "id": text,
            "environment": text,
            "task_id": text,
            "sample_index": whole,
            "group_id": text,
            "model": text,
            "seed": whole,
            "stop_reason": text,
            "reward": number,
            "rewards": named,
            "advantage": number,
            "metrics": named,
            "messages": pa.list_(message),
            "turns": pa.list_(turn),
            "sequences": pa.list_(sequence),
            "tool_errors": pa.list_(tool_error),
            "error": pa.struct({"kind": text, "message": text, "where": text}),
            "parent": pa.struct({"trajectory_id": text, "turn": whole}),
            "started": number,
            "seconds": number,
            "metadata": text,
        }
    )


_TOOL_ERROR = ("tool_name", "arguments", "kind", "error", "tool_result")


def row_of(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory as plain values under the names of `schema`."""
    error, parent = trajectory.error, trajectory.parent
    return {
        "id": trajectory.id,
        "environment": trajectory.environment,
        "task_id": trajectory.task_id,
        "sample_index": trajectory.sample_index,
        "group_id": trajectory.group_id,
        "model": trajectory.model,
        "seed": trajectory.seed,
        "stop_reason": None if trajectory.stop_reason is None else str(trajectory.stop_reason),
        "reward": trajectory.reward,
        "rewards": _named(trajectory.rewards),
        "advantage": trajectory.advantage,
        "metrics": _named(trajectory.metrics),
        "messages": [_message(message) for message in trajectory.messages],
        "turns": [_turn(turn) for turn in trajectory.turns],
        "sequences": [_sequence(sequence) for sequence in trajectory.sequences],
        "tool_errors": [
            {"turn": one.turn, **{name: str(getattr(one, name)) for name in _TOOL_ERROR}}
            for one in trajectory.tool_errors
        ],
        "error": None
        if error is None
        else {"kind": error.kind, "message": error.message, "where": error.where},
        "parent": None if parent is None else {"trajectory_id": parent.trajectory_id, "turn": parent.turn},
        "started": trajectory.timing.started,
        "seconds": trajectory.timing.total,
        "metadata": _json(trajectory.metadata) if trajectory.metadata else None,
    }


def _named(values: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "index": turn.index,
        "finish_reason": turn.finish_reason,
        "parsed_by": turn.parsed_by,
        "prompt_tokens": turn.usage.prompt_tokens,
        "completion_tokens": turn.usage.completion_tokens,
        "cached_tokens": turn.usage.cached_tokens,
        "weight_version": turn.weight_version,
        "untrainable": None if turn.untrainable is None else str(turn.untrainable),
        "seconds": turn.timing.total,
    }


def _sequence(sequence: TokenSequence) -> dict[str, Any]:
    return {name: getattr(sequence, name) for name in TokenSequence.__struct_fields__}


def _message(message: Message) -> dict[str, Any]:
    """A message's typed fields; what is of another type or name goes into ``other``."""
    row: dict[str, Any] = dict.fromkeys((*_TEXTS, "tool_calls", "other"))
    other: dict[str, Any] = {}
    for name, value in message.items():
        if (name in _TEXTS and isinstance(value, str | None)) or (name == "tool_calls" and _are_calls(value)):
            row[name] = value
        else:
            other[name] = value
    if other:
        row["other"] = _json(other)
    return row


def _are_calls(value: Any) -> bool:
    """Are they calls with a function's name and raw arguments, and nothing else?"""
    try:
        msgspec.convert(value, list[_Call] | None, strict=True)
    except msgspec.ValidationError:
        return False
    return True


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: str


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    function: _Function
    type: str = "function"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
