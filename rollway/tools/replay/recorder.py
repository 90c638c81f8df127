"""Records one rollout's calls while they are run. Adds nothing to them and takes nothing away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from rollway.tools.context import RolloutContext
from rollway.tools.execution import ExecutedCall
from rollway.tools.replay.records import Key, RecordedCall, Recording, sandbox_file
from rollway.trajectory import ToolCall


class ToolRecorder:
    """A `CallExecutor`, one for each rollout: ``AgentLoop(..., execute=recorder)``."""

    def __init__(self) -> None:
        self._calls: list[RecordedCall] = []
        self._in_turn: Counter[int] = Counter()

    async def __call__(
        self,
        call: ToolCall,
        *,
        turn: int,
        context: RolloutContext,
        run: Callable[[], Awaitable[ExecutedCall]],
    ) -> ExecutedCall:
        """Run the call and keep what came of it."""
        place = len(self._calls)  # taken before the first await: the calls of a turn begin in their order
        entry = RecordedCall(turn, self._in_turn[turn], call.name, call.arguments)
        self._in_turn[turn] += 1
        self._calls.append(entry)
        executed = await run()
        self._calls[place] = msgspec.structs.replace(entry, answer=executed)
        return executed

    def recording(
        self,
        key: Key,
        *,
        trajectory_id: str = "",
        sandbox: bool = False,
        mcp: Mapping[str, str] | None = None,
    ) -> Recording:
        """What has been recorded so far.

        Args:
            sandbox: a snapshot of the rollout's sandbox is kept with it.
            mcp: as `Recording.mcp`.
        """
        return Recording(
            task_id=key[0],
            sample_index=key[1],
            calls=list(self._calls),
            trajectory_id=trajectory_id,
            sandbox=sandbox_file(key) if sandbox else None,
            mcp=None if mcp is None else dict(mcp),
        )
