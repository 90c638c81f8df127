"""The tools of one rollout, by name. Names are unique; the order is the one given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rollway.errors import nearest
from rollway.tools.definition import Tool


class ToolRegistry:
    """Read-only once made, so that any number of rollouts may share it."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        """Take the tools in.

        Raises:
            TypeError: one of them is no tool, or a method that belongs to no instance.
            ValueError: two have one name.
        """
        self._tools: dict[str, Tool] = {}
        for entry in tools:
            _check(entry)
            if entry.name in self._tools:
                raise ValueError(
                    f"two tools are named {entry.name!r}; give one a name of its own: @tool(name=...)"
                )
            self._tools[entry.name] = entry

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
        raise TypeError(f"{entry!r} is no tool; decorate the function with @tool")
    if entry.unbound:
        raise TypeError(
            f"tool {entry.name!r} is a method of a class; use the one of an instance: instance.{entry.name}"
        )
