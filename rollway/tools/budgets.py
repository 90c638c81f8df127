"""How much of a turn's results the model is shown: of each at most so much, and of all together.

What all together have is shared fairly: no result is cut while a longer one keeps more than it. What is kept
of a result is its beginning and its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from rollway.tools.execution import ExecutedCall
from rollway.tools.results import cut_middle


def fair_shares(sizes: Sequence[int], budget: int | None) -> list[int]:
    """How much of each result may stay, in order: at most its length, and together within the budget.

    Who needs less than an even share gets all of it; what that leaves is shared among the others.
    """
    if budget is None or sum(sizes) <= budget:
        return list(sizes)
    shares = [0] * len(sizes)
    left = budget
    for place, index in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[index] = min(sizes[index], left // (len(sizes) - place))
        left -= shares[index]
    return shares


def shares_of(calls: Sequence[ExecutedCall], each: int | None, together: int | None) -> list[int]:
    """The characters that the model is shown of each call's result.

    Args:
        each: limit on the characters of one result; ``None`` is no limit.
        together: limit on the characters of all results.
    """
    sizes = [len(whole_of(call)) for call in calls]
    return fair_shares(sizes if each is None else [min(size, each) for size in sizes], together)


def whole_of(call: ExecutedCall) -> str:
    """The result before anything was cut off it."""
    return call.result.content if call.whole is None else call.whole


def fitted(
    calls: Sequence[ExecutedCall], shares: Sequence[int], notes: Mapping[str, str] | None = None
) -> list[ExecutedCall]:
    """The calls with results no longer than their shares. (Where a share has no room for the line that says
    how much is cut, that line alone.)

    Args:
        notes: what that line says besides, by call id.
    """
    notes = notes or {}
    return [
        _cut(call, share, notes.get(call.result.call_id, ""))
        for call, share in zip(calls, shares, strict=True)
    ]


def _cut(call: ExecutedCall, share: int, note: str) -> ExecutedCall:
    whole = whole_of(call)
    if len(whole) <= share or (len(call.result.content) <= share and not note):
        return call
    told = cut_middle(whole, share, note)
    size = max(len(whole), call.result.truncated_from or 0)
    result = msgspec.structs.replace(call.result, content=told, truncated_from=size)
    error = call.error and msgspec.structs.replace(call.error, tool_result=told)
    return ExecutedCall(result, error, call.stop, whole)
