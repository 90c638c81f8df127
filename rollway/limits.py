"""How long a rollout may go on. A default limits nothing but turns and the length of a tool's result.

Limits are checked in the order of the fields below: before each model call ``max_turns``, then
``max_completion_tokens``; before tools run ``max_tool_calls``. ``timeout`` cuts in at any moment and
``tool_timeout`` bounds each call. The first limit that is reached names the stop reason, but for calls
beyond ``max_tool_calls`` and calls past ``tool_timeout``: these are answered, and the model may still use
what it has. Results over ``max_result_chars``, then over their share of ``max_turn_result_chars``, are cut in
the middle with a line that says how much is gone.
"""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of one rollout; ``None`` is no bound.

    Raises:
        ValueError: a bound is not positive.
    """

    max_turns: int | None = 30  # model calls that are kept
    max_completion_tokens: int | None = None  # sampled tokens of the whole rollout
    max_tool_calls: int | None = None  # calls of the whole rollout
    timeout: float | None = None  # wall seconds of the whole rollout
    tool_timeout: float | None = 60.0  # seconds of one tool call, without its time in the queue
    max_result_chars: int | None = 50_000  # of one tool result, as the model is shown it
    max_turn_result_chars: int | None = None  # of all results of one turn together

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"limits.{name} must be positive or null, got {value}")
