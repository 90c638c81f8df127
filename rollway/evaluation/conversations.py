"""A trajectory as people read it: message by message, long texts cut, failed calls marked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from rollway.evaluation.samples import Sample
from rollway.trajectory import ENGINE_NAME, Message, ToolError, ToolResult, Trajectory

MOST_TEXT = 20_000
"""Characters of one text that are shown; a tool's result may have millions."""

MOST_MESSAGES = 200
"""Messages of one rollout that are shown, the first half and the last; as many tool errors."""


class Text(msgspec.Struct, frozen=True):
    shown: str
    cut: int = 0  # characters that are not shown


class Line(msgspec.Struct, frozen=True):
    """One message."""

    role: str  # "engine" for what the engine wrote in the user's place
    who: str
    text: Text | None = None
    reasoning: Text | None = None
    calls: list[Text] = []
    failed: bool = False  # the result of a call that failed


class Conversation(msgspec.Struct, frozen=True):
    """One rollout."""

    why: str  # it was chosen
    task_id: str
    sample_index: int
    reward: float | None
    rewards: dict[str, float]
    stop_reason: str
    turns: int
    tokens: int  # sampled
    seconds: float
    lines: list[Line]
    errors: list[ToolError]
    fault: Text | None  # what ended the rollout or kept it from being scored


def conversation(sample: Sample) -> Conversation:
    """What is shown of one rollout."""
    trajectory = sample.trajectory
    return Conversation(
        why=str(sample.why),
        task_id=trajectory.task_id,
        sample_index=trajectory.sample_index,
        reward=trajectory.reward,
        rewards=trajectory.rewards,
        stop_reason=str(trajectory.stop_reason),
        turns=len(trajectory.turns),
        tokens=sum(turn.usage.completion_tokens for turn in trajectory.turns),
        seconds=trajectory.timing.total,
        lines=_lines(trajectory),
        errors=trajectory.tool_errors[:MOST_MESSAGES],
        fault=_fault(trajectory),
    )


def plain_text(shown: Conversation) -> str:
    """The messages as plain text, each under the name of who said it."""
    parts = []
    for line in shown.lines:
        texts = [line.reasoning, line.text, *line.calls]
        parts.append("\n".join([f"[{line.who}]", *(text.shown for text in texts if text)]))
    return "\n\n".join(parts)


def _fault(trajectory: Trajectory) -> Text | None:
    error = trajectory.error
    if error is None:
        return None
    told = f"{error.kind} ({error.where}): {error.message}"
    return _text(f"{told}\n\n{error.traceback}" if error.traceback else told)


def _lines(trajectory: Trajectory) -> list[Line]:
    results = {result.call_id: result for turn in trajectory.turns for result in turn.tool_results}
    messages = trajectory.messages
    if len(messages) <= MOST_MESSAGES:
        return [_line(message, results) for message in messages]
    half = MOST_MESSAGES // 2
    left_out = Line("engine", f"... {len(messages) - 2 * half} messages not shown ...")
    first, last = messages[:half], messages[-half:]
    return [
        *(_line(message, results) for message in first),
        left_out,
        *(_line(message, results) for message in last),
    ]


def _line(message: Message, results: Mapping[str, ToolResult]) -> Line:
    role = str(message.get("role", ""))
    who = f"{role} {message.get('name') or ''}".strip()
    if role == "user" and message.get("name") == ENGINE_NAME:
        role, who = "engine", "the engine"
    stands = message.get("tool_calls") or []
    calls = [_call(call) for call in (stands if isinstance(stands, list) else [stands])]
    answers = message.get("tool_call_id")
    result = results.get(answers) if isinstance(answers, str) else None
    if result is not None and result.edited_arguments is not None:
        what = "ran instead" if result.approval == "edited" else "also not run"
        calls.append(_cut(f"{what}: {result.name}({result.edited_arguments})"))
    return Line(
        role=role,
        who=who,
        text=_text(_content(message.get("content"))),
        reasoning=_text(_content(message.get("reasoning_content"))),
        calls=calls,
        failed=result is not None and not result.ok,
    )


def _content(content: Any) -> str:
    """The text of a message whose content is a string, nothing, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return json.dumps(content, ensure_ascii=False)
    return "\n".join(
        str(part["text"])
        if isinstance(part, Mapping) and part.get("type") == "text" and "text" in part
        else json.dumps(part, ensure_ascii=False)
        for part in content
    )


def _call(call: Any) -> Text:
    """A call in the OpenAI format. What an environment's prompt has in its place is shown as it stands."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return _cut(json.dumps(call, ensure_ascii=False))
    arguments = function.get("arguments")
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return _cut(f"{function.get('name', '')}({raw})")


def _text(text: str) -> Text | None:
    return _cut(text) if text else None


def _cut(text: str) -> Text:
    return Text(text[:MOST_TEXT], max(len(text) - MOST_TEXT, 0))
