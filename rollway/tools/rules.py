"""Which tools a rollout may use, and how: an ordered list of rules; the first matching rule decides.

A call that matches no rule is allowed. A tool whose calls are all forbidden is hidden from the model; every
other call is checked again when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollway.errors import nearest
from rollway.tools.definition import Tool
from rollway.tools.patterns import CallPattern, fits


class Rule(CallPattern, frozen=True, kw_only=True):
    """Allows or forbids the calls of its pattern."""

    allow: bool
    told: str = ""  # message for the model whose call is forbidden; empty: a default message

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.allow, bool):  # "no" would be a permission
            raise ValueError(f"a rule's allow must be true or false, got {self.allow!r:.80}")


def refusal(
    rules: Sequence[Rule], tool: str, arguments: Mapping[str, Any], workspace: str | None
) -> str | None:
    """The model's message for a call that the rules forbid; ``None`` for one that may run.

    Args:
        arguments: as the function gets them.
        workspace: the base of relative paths; ``None``: unknown.
    """
    decisive: dict[str, None] = {}  # arguments that would have let the call pass, in the order of the rules
    for rule in rules:
        if fits(rule, tool, arguments, workspace, strictly=rule.allow):
            return None if rule.allow else _words(rule, tool, [*decisive])
        if rule.allow and rule.argument is not None and rule.names(tool):
            decisive[rule.argument] = None
    return None


def _words(rule: Rule, tool: str, decisive: Sequence[str]) -> str:
    """The model's message if a rule forbids a call: never that all calls are forbidden, where
    some are not.
    """
    if rule.told:
        return rule.told
    about = [rule.argument] if rule.argument is not None else decisive
    if not about:
        return f"Error: tool {tool!r} is not allowed here"
    return f"Error: tool {tool!r} is not allowed with this {' and '.join(map(repr, about))}"


def may_be_called(rules: Iterable[Rule], tool: Tool) -> bool:
    """Whether some call of the tool could be allowed. If in doubt: yes."""
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
    """Reject rules without effect, because a restriction that does nothing is a mistake.

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
                f"rules[{index}] has no effect: calls that match no rule are allowed; add a rule that "
                f"forbids the rest, such as Rule(tool={rule.tool!r}, allow=False)"
            )


def check_arguments(patterns: Sequence[CallPattern], tools: Sequence[Tool], where: str) -> None:
    """Reject patterns on an argument that none of their tools has.

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
            f"available: {', '.join(known) or 'none'}"
        )


def check_names(patterns: Sequence[CallPattern], tools: Sequence[Tool], where: str) -> None:
    """Reject patterns that match none of the tools. Use this only if all tools are known.

    Raises:
        ValueError: as said.
    """
    names = [tool.name for tool in tools]
    for index, pattern in enumerate(patterns):
        if not any(pattern.names(name) for name in names):
            raise ValueError(
                f"{where}[{index}]: unknown tool {pattern.tool!r}{nearest(pattern.tool, names)}; available: "
                f"{', '.join(names) or 'none'}"
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
