"""The limits of a rollout. By default only turns, the length of results, and the time of tool calls and of
the environment's own code are limited.

Limits are checked in the order of the fields below: before each model call ``max_turns``, then
``max_completion_tokens``; before tools run ``max_tool_calls``. ``timeout`` applies at any moment, and
``tool_timeout`` to each call. The first limit that is reached names the stop reason. Calls beyond
``max_tool_calls`` and calls past ``tool_timeout`` do not end the rollout: the model gets an error for each,
and may still answer. Results over ``max_result_chars``, then over their share of ``max_turn_result_chars``,
are cut in the middle, with a line that gives the number of removed characters. A hook or a reward function
past ``hook_timeout`` is a fault of the environment's, and not of the policy's: the rollout is not scored.
"""

from __future__ import annotations

import msgspec

HOOK_SECONDS = 600.0
"""What a hook or a reward function has where neither ``hook_timeout`` nor ``timeout`` is given."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one rollout; ``None`` is no limit.

    Raises:
        ValueError: a limit is not positive.
    """

    max_turns: int | None = 30  # model calls that are kept
    max_completion_tokens: int | None = None  # sampled tokens of the whole rollout
    max_tool_calls: int | None = None  # calls of the whole rollout
    timeout: float | None = None  # wall seconds of the whole rollout
    tool_timeout: float | None = 60.0  # seconds of one tool call, without its time in the queue
    max_result_chars: int | None = 50_000  # of one tool result, as the model gets it
    max_turn_result_chars: int | None = None  # of all results of one turn together
    hook_timeout: float | None = (
        None  # seconds of each call of the environment's own code; see `hook_seconds`
    )

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"limits.{name} must be positive or null, got {value}")

    @property
    def hook_seconds(self) -> float:
        """The seconds of one call of the environment's own code: ``hook_timeout``, else ``timeout``, else
        `HOOK_SECONDS`. Never without end: code that hangs would otherwise keep its run from ending."""
        return self.hook_timeout or self.timeout or HOOK_SECONDS
