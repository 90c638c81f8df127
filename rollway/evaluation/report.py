"""report.html: a run's numbers and some of its rollouts as conversations, in one file that needs no other.

What models and tools wrote is shown as text and never as markup: the template escapes every value, and the
page forbids scripts besides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rollway.evaluation.charts import columns, rows
from rollway.evaluation.samples import Sample
from rollway.evaluation.summary import RunSummary
from rollway.trajectory import ENGINE_NAME, Message, ToolError, Trajectory

MOST_TEXT = 20_000
"""Characters of one text that are shown; a tool's result may have millions."""

MOST_MESSAGES = 200
"""Messages of one rollout that are shown, the first half and the last."""


class Text(msgspec.Struct, frozen=True):
    shown: str
    cut: int = 0  # characters that are not shown


class Line(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: str
    who: str
    text: Text | None = None
    reasoning: Text | None = None
    calls: list[Text] = []
    failed: bool = False  # the result of a call that failed


class Conversation(msgspec.Struct, frozen=True):
    """One rollout as the report shows it."""

    why: str
    task_id: str
    sample_index: int
    reward: float | None
    rewards: dict[str, float]
    stop_reason: str
    turns: int
    tokens: int
    seconds: float
    messages: list[Line]
    errors: list[ToolError]
    fault: Text | None


def write_report(path: Path, summary: RunSummary, samples: Sequence[Sample], *, title: str) -> None:
    """Write the report of a run. An earlier one is replaced in one step."""
    html = render_report(summary, samples, title=title)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(html, encoding="utf-8", errors="replace")  # half a surrogate pair cannot be written
    os.replace(partial, path)


def render_report(summary: RunSummary, samples: Sequence[Sample], *, title: str) -> str:
    """The report as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rollway.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        title=title,
        summary=summary,
        histogram=columns(summary.reward_histogram),
        stops=rows(summary.stop_reasons),
        conversations=[conversation(sample) for sample in samples],
    )


def conversation(sample: Sample) -> Conversation:
    """What the report shows of one rollout."""
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
        messages=_lines(trajectory),
        errors=trajectory.tool_errors[:MOST_MESSAGES],
        fault=_fault(trajectory),
    )


def _fault(trajectory: Trajectory) -> Text | None:
    error = trajectory.error
    if error is None:
        return None
    told = f"{error.kind} ({error.where}): {error.message}"
    return _text(f"{told}\n\n{error.traceback}" if error.traceback else told)


def _lines(trajectory: Trajectory) -> list[Line]:
    failed = {result.call_id for turn in trajectory.turns for result in turn.tool_results if not result.ok}
    lines = [_line(message, failed) for message in trajectory.messages]
    if len(lines) <= MOST_MESSAGES:
        return lines
    half = MOST_MESSAGES // 2
    left_out = Line("engine", f"... {len(lines) - 2 * half} messages are not shown ...")
    return [*lines[:half], left_out, *lines[-half:]]


def _line(message: Message, failed: set[str]) -> Line:
    role = str(message.get("role", ""))
    who = f"{role} {message.get('name') or ''}".strip()
    if role == "user" and message.get("name") == ENGINE_NAME:
        role, who = "engine", "the engine"
    reasoning = message.get("reasoning_content")
    return Line(
        role=role,
        who=who,
        text=_text(_content(message.get("content"))),
        reasoning=_text(_content(reasoning)),
        calls=[_call(call) for call in message.get("tool_calls") or []],
        failed=message.get("tool_call_id") in failed,
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


def _call(call: Mapping[str, Any]) -> Text:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return _text(f"{function.get('name', '')}({raw})") or Text("")


def _text(text: str) -> Text | None:
    if not text:
        return None
    return Text(text[:MOST_TEXT], max(len(text) - MOST_TEXT, 0))
