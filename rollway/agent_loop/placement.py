"""Where the engine's own words stand in what a model is shown, and what is moved when a template refuses it.

A refusal is learned once for a client: its rollouts share a server and a template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rollway.agent_loop.shown import (
    PLACE,
    TOOL_SUFFIX,
    may_be_refused,
    shown_messages,
    turns_at,
    with_empty_thoughts,
)
from rollway.agent_loop.tools_in_text import told_in_text
from rollway.inference.errors import ContextOverflow, InferenceError
from rollway.trajectory import Message, Trajectory

if TYPE_CHECKING:
    from rollway.agent_loop.loop import AgentLoop

_ROLES = re.compile(r"\broles?\b|alternat|after (?:a )?tool|tool (?:message|result)", re.IGNORECASE)
"""How templates and the servers behind them refuse a message where it stands."""

_THOUGHTS = re.compile(r"\breasoning_content\b")
"""How a server refuses a reply without a thought in the history."""


class Placement:
    """What one rollout's model is shown of its record."""

    def __init__(self, loop: AgentLoop, trajectory: Trajectory) -> None:
        self._loop = loop
        self._trajectory = trajectory
        self._server: str = getattr(loop.client, "server", "")
        self._learned = loop.learned
        self._refused_user = False  # so far, by this rollout's requests
        self._refused_system = False
        self._demanded_thoughts = False

    @property
    def under_results(self) -> bool:
        """Do the engine's words behind tool results stand under the last of them?"""
        placed = self._loop.insert_as
        return placed == TOOL_SUFFIX or (placed == "auto" and self._learned.refuses_user_after_tool)

    def shown(self, messages: Sequence[Message], covered: int) -> list[Message]:
        """The record's ``messages`` as a request holds them; ``covered`` of them stand in its turns."""
        turns = turns_at(messages, self._trajectory.turns, covered)
        in_text = self._loop.tools_in_prompt
        shown = shown_messages(messages, turns, server=self._server, fold=in_text is None)
        if self._demanded_thoughts or self._learned.demands_thoughts:
            shown = with_empty_thoughts(shown)
        if in_text is None:
            return shown
        written = {place: turn.text for place, turn in turns.items() if turn.text is not None}
        tools = [tool.shared_definition() for tool in self._loop.tools]
        system = not (self._refused_system or self._learned.refuses_system)
        return told_in_text(shown, tools, in_text, written, system=system)

    def mend(self, error: InferenceError) -> bool:
        """Show the model something else than what was refused; False where nothing is to be moved."""
        if isinstance(error, ContextOverflow):
            return False
        if _THOUGHTS.search(str(error)) and not self._demanded_thoughts:
            self._demanded_thoughts = not self._learned.demands_thoughts
            return self._demanded_thoughts
        if not _ROLES.search(str(error)):
            return False
        return self._moved_system() if self._loop.tools_in_prompt is not None else self._moved_inserts()

    def remember(self) -> None:
        """What was moved is taken: so it is for the client's other rollouts."""
        self._learned.refuses_user_after_tool |= self._refused_user
        self._learned.refuses_system |= self._refused_system
        self._learned.demands_thoughts |= self._demanded_thoughts

    def _moved_inserts(self) -> bool:
        refused = may_be_refused(self._trajectory.messages) if self._loop.insert_as == "auto" else []
        for message in refused:
            message[PLACE] = TOOL_SUFFIX
        self._refused_user = self._refused_user or bool(refused)
        return bool(refused)

    def _moved_system(self) -> bool:
        """Results are a user's message there, in which the engine's words stand already: what is left is the
        system message that was made for the tools."""
        first = self._trajectory.messages[:1]
        made = bool(first) and first[0].get("role") == "user"
        if not made or self._refused_system or self._learned.refuses_system:
            return False
        self._refused_system = True
        return True
