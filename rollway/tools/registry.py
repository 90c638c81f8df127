"""The tools of one rollout, by name. Names are unique; the order is the one given.

A tool that the rules leave no call of is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rollway.errors import nearest
from rollway.tools.definition import Tool
from rollway.tools.patterns import values_of
from rollway.tools.rules import Rule, check_rules, may_be_called, refusal


class ToolRegistry:
    """Read-only once made, so that any number of rollouts may share it."""

    def __init__(self, tools: Iterable[Tool] = (), *, rules: Sequence[Rule] = ()) -> None:
        """Take the tools in.

        Args:
            rules: which of them may be used, and how; the first that fits a call decides.

        Raises:
            TypeError: one of them is no tool, or a method that belongs to no instance.
            ValueError: two have one name, or a rule cannot mean what it says.
        """
        self.rules = tuple(rules)
        self._tools: dict[str, Tool] = {}
        self._hidden: dict[str, str] = {}  # by name, what the rule says to the model; may be empty
        for entry in tools:
            _check(entry)
            if entry.name in self._tools:
                raise ValueError(f"two tools are named {entry.name!r}; rename one with @tool(name=...)")
            self._tools[entry.name] = entry
        if self.rules:
            self._hide()

    def _hide(self) -> None:
        check_rules(self.rules, self)
        for entry in [entry for entry in self if not may_be_called(self.rules, entry)]:
            refused = next(rule for rule in self.rules if rule.names(entry.name) and not rule.allow)
            self._hidden[entry.name] = refused.told
        for name in self._hidden:
            del self._tools[name]

    def is_hidden(self, name: str) -> bool:
        """Is there such a tool, of which the rules leave no call?"""
        return name in self._hidden

    def told_of_hidden(self, name: str) -> str:
        """What the rule that hides a tool says to a model that calls it all the same; ``""``: nothing."""
        return self._hidden[name]

    def refusal(
        self, tool: Tool, args: tuple[Any, ...], kwargs: Mapping[str, Any], workspace: str | None
    ) -> str | None:
        """The model's message for a call that the rules forbid; ``None`` for one that may run.

        Args:
            args, kwargs: what the function is called with.
            workspace: where relative paths begin; ``None``: nobody knows.
        """
        if not any(rule.names(tool.name) for rule in self.rules):
            return None
        return refusal(self.rules, tool.name, values_of(tool.function, args, kwargs), workspace)

    @property
    def names(self) -> list[str]:
        """In the order given."""
        return list(self._tools)

    def get(self, name: str) -> Tool | None:
        """The tool of exactly this name."""
        return self._tools.get(name)

    def near(self, name: str) -> str:
        """A hint such as ``" (did you mean 'add'?)"``, or ``""``. Case does not count."""
        folded = {known.casefold(): known for known in self._tools}
        exact = folded.get(name.casefold())
        return f" (did you mean {exact!r}?)" if exact else nearest(name, self._tools)

    def definitions(self) -> list[dict[str, Any]]:
        """All tools as the OpenAI API describes them; copies."""
        return [entry.definition() for entry in self._tools.values()]

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __repr__(self) -> str:
        return f"ToolRegistry({self.names})"


def _check(entry: Any) -> None:
    if not isinstance(entry, Tool):
        raise TypeError(f"{entry!r} is not a tool; decorate the function with @tool")
    if entry.unbound:
        raise TypeError(f"tool {entry.name!r} is an unbound method; use instance.{entry.name}")
