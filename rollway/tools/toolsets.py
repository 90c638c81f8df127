"""Which toolsets a group of rollouts gets: a random draw that is the same on every machine.

A draw depends on the seed, the group and the distribution, and on nothing else: the samples of a group get
the same tools, and a resumed run draws the same toolsets again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import msgspec

from rollway.errors import UserError, nearest
from rollway.tools.definition import Tool


class Combination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Toolsets that are used together.

    Raises:
        ValueError: the toolsets are a string, or the weight is below 0.
    """

    toolsets: tuple[str, ...]
    weight: float = 1.0  # relative to the others'

    def __post_init__(self) -> None:
        if isinstance(self.toolsets, str):
            raise ValueError(f"the toolsets of a combination must be a tuple: ({self.toolsets!r},)")
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"the weight of {list(self.toolsets)} must be 0 or more, got {self.weight}")


class ToolsetDistribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either each toolset with its own probability, or one of several combinations by weight.

    Raises:
        ValueError: both or neither are given, or a number is not a probability or weight.
    """

    each: dict[str, float] = {}  # toolset -> probability, 0 to 1
    one_of: tuple[Combination, ...] = ()
    may_be_empty: bool = False  # whether a group may get no tools; otherwise such draws do not count

    def __post_init__(self) -> None:
        if bool(self.each) == bool(self.one_of):
            raise ValueError("a toolset distribution needs either each or one_of")
        for name, probability in self.each.items():
            if not 0 <= probability <= 1:
                raise ValueError(
                    f"the probability of toolset {name!r} must be between 0 and 1, got {probability}"
                )
        if self.may_be_empty:
            return
        if self.each and not any(self.each.values()):
            raise ValueError("all toolsets have probability 0; to allow no tools at all, set may_be_empty")
        if any(not one.toolsets for one in self.one_of):
            raise ValueError("a combination without toolsets needs may_be_empty")
        if self.one_of and not any(one.weight for one in self.one_of):
            raise ValueError("all combinations have weight 0")

    @property
    def names(self) -> tuple[str, ...]:
        """All toolsets that may be drawn."""
        every = [*self.each, *(name for one in self.one_of for name in one.toolsets)]
        return tuple(dict.fromkeys(every))

    def sample(self, group: str, seed: int) -> tuple[str, ...]:
        """The toolsets of a group, in the order of the distribution."""
        if self.one_of:
            return self._combination(_uniform(seed, group, "combination"))
        drawn: list[str] = []
        chances = list(self.each.values())
        for index, name in enumerate(self.each):
            chance = chances[index]
            if not drawn and not self.may_be_empty:
                chance = _given_any(chances[index:])
            if _uniform(seed, group, f"toolset {name}") < chance:
                drawn.append(name)
        return tuple(drawn)

    def _combination(self, uniform: float) -> tuple[str, ...]:
        point = uniform * math.fsum(one.weight for one in self.one_of)
        for one in self.one_of:
            point -= one.weight
            if point < 0:
                return one.toolsets
        return next((one.toolsets for one in reversed(self.one_of) if one.weight), ())


def _given_any(probabilities: Sequence[float]) -> float:
    """The probability of the first, given that at least one of them comes true."""
    first, *others = probabilities
    if not any(others):
        return 1.0 if first else 0.0
    if 1 in probabilities:
        return first
    return first / -math.expm1(math.fsum(math.log1p(-each) for each in probabilities))


def _uniform(seed: int, group: str, what: str) -> float:
    """A number from 0 to below 1 that the three decide."""
    digest = hashlib.sha256(f"{seed}\0{group}\0{what}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # all of a float's digits, and never 1.0


def tools_of(names: Sequence[str], toolsets: Mapping[str, Sequence[Tool]]) -> tuple[Tool, ...]:
    """The tools of some toolsets, in order and each once.

    Raises:
        UserError: unknown toolset.
    """
    tools: dict[str, Tool] = {}
    for name in names:
        if name not in toolsets:
            there = ", ".join(toolsets) or "none"
            raise UserError(f"unknown toolset {name!r}{nearest(name, toolsets)}; available: {there}")
        for tool in toolsets[name]:
            tools.setdefault(tool.name, tool)
    return tuple(tools.values())
