"""Which of its tools a rollout may use, and how: rules in an order, of which the first that fits decides.

A call that none fits is allowed. A tool that no allowed call could reach is not shown to the model; what is
shown is checked again at every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollway.errors import nearest
from rollway.tools.definition import Tool
from rollway.tools.patterns import CallPattern, fits


class Rule(CallPattern, frozen=True, kw_only=True):
    """Allows or refuses the calls of its pattern."""

    allow: bool
    told: str = ""  # to the model whose call it refuses; empty: words of our own

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.allow, bool):  # "no" would be a permission
            raise ValueError(f"a rule's allow must be true or false, got {self.allow!r:.80}")


def refusal(
    rules: Sequence[Rule], tool: str, arguments: Mapping[str, Any], workspace: str | None
) -> str | None:
    """What the model is told of a call that the rules refuse; ``None`` for one that may run.

    Args:
        arguments: as the function gets them.
        workspace: where relative paths begin; ``None``: nobody knows.
    """
    decisive: dict[str, None] = {}  # arguments that would have let the call pass, in the order of the rules
    for rule in rules:
        if fits(rule, tool, arguments, workspace, strictly=rule.allow):
            return None if rule.allow else _words(rule, tool, [*decisive])
        if rule.allow and rule.argument is not None and rule.names(tool):
            decisive[rule.argument] = None
    return None


def _words(rule: Rule, tool: str, decisive: Sequence[str]) -> str:
    """What the model is told where a rule decides against a call: never that all calls are refused, where
    some are not.
    """
    if rule.told:
        return rule.told
    about = [rule.argument] if rule.argument is not None else decisive
    if not about:
        return f"Error: tool {tool!r} may not be used here"
    return f"Error: tool {tool!r} may not be called with this {' and '.join(map(repr, about))}"


def may_be_called(rules: Iterable[Rule], tool: Tool) -> bool:
    """Could some call of the tool be allowed? Where that is hard to say: yes."""
    for rule in rules:
        if not rule.names(tool.name):
            continue
        if rule.argument is None:
            return rule.allow
        if rule.allow and _takes(tool, rule.argument):
            return True
        if not rule.allow and _always_fits(rule, tool):
            return False
    return True


def check_rules(rules: Sequence[Rule], tools: Iterable[Tool]) -> None:
    """Refuse rules that cannot mean what they say: a restriction that does nothing must not go unnoticed.

    Raises:
        ValueError: an argument that none of the rule's tools has, or a permission that changes nothing.
    """
    tools = list(tools)
    check_arguments(rules, tools, "rules")
    for index, rule in enumerate(rules):
        named = [tool for tool in tools if rule.names(tool.name)]
        later = [other for other in rules[index + 1 :] if not other.allow]
        if rule.allow and named and not any(other.names(tool.name) for other in later for tool in named):
            raise ValueError(
                f"rules[{index}] allows what is allowed anyway: what no rule fits may be called; "
                f"add one that refuses the rest, as in Rule(tool={rule.tool!r}, allow=False)"
            )


def check_arguments(patterns: Sequence[CallPattern], tools: Sequence[Tool], where: str) -> None:
    """Refuse patterns about an argument that none of their tools has.

    Args:
        where: what the list of patterns is called.

    Raises:
        ValueError: as said.
    """
    for index, pattern in enumerate(patterns):
        named = [tool for tool in tools if pattern.names(tool.name)]
        argument = pattern.argument
        if not named or argument is None or any(_takes(tool, argument) for tool in named):
            continue
        known = dict.fromkeys(name for tool in named for name in tool.parameters.get("properties", {}))
        raise ValueError(
            f"{where}[{index}]: {pattern.tool!r} has no argument {argument!r}{nearest(argument, known)}; "
            f"there are: {', '.join(known) or 'none'}"
        )


def check_names(patterns: Sequence[CallPattern], tools: Sequence[Tool], where: str) -> None:
    """Refuse patterns that are about none of the tools. Only for who knows all that there will be.

    Raises:
        ValueError: as said.
    """
    names = [tool.name for tool in tools]
    for index, pattern in enumerate(patterns):
        if not any(pattern.names(name) for name in names):
            raise ValueError(
                f"{where}[{index}]: there is no tool {pattern.tool!r}{nearest(pattern.tool, names)}; "
                f"there are: {', '.join(names) or 'none'}"
            )


def _takes(tool: Tool, argument: str) -> bool:
    schema = tool.parameters
    return (
        "properties" not in schema
        or argument in schema["properties"]
        or bool(schema.get("additionalProperties", False))
    )


def _always_fits(rule: Rule, tool: Tool) -> bool:
    """Must every call have something there that fits?"""
    if rule.argument not in tool.parameters.get("required", ()) or not rule.matches:
        return False
    return (
        not rule.matches.strip("*") and tool.parameters["properties"][rule.argument].get("type") == "string"
    )
