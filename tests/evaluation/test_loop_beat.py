"""A thread knows whether an event loop answers, and the stack names the rollout that keeps it from that."""

from __future__ import annotations

import asyncio
import threading
import time

from rollway.evaluation.loop_beat import LoopBeat
from rollway.evaluation.reports import rollout_on_stack, stacks_of
from rollway.tools.context import RolloutContext
from rollway.trajectory import Trajectory


def block_until(beat: LoopBeat, above: float) -> None:
    """Block the loop until the beat has noticed."""
    deadline = time.monotonic() + 60
    while beat.lag < above:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_a_loop_that_is_blocked_lags_and_one_that_answers_does_not() -> None:
    beat = LoopBeat(asyncio.get_running_loop(), every=0.005)
    try:
        async with asyncio.timeout(60):
            while beat.thread is None:
                await asyncio.sleep(0.001)
        assert beat.thread == threading.get_ident()
        block_until(beat, above=0.02)
        async with asyncio.timeout(60):
            while beat.lag:
                await asyncio.sleep(0.001)
    finally:
        beat.close()


def seen_from_outside() -> tuple[str | None, str]:
    """What another thread sees of this one, which stands in a function of a user's."""
    seen: list[tuple[str | None, str]] = []
    thread = threading.get_ident()
    other = threading.Thread(target=lambda: seen.append((rollout_on_stack(thread), stacks_of(thread))))
    other.start()
    other.join()
    return seen[0]


def in_hook(
    trajectory: Trajectory | None = None, context: RolloutContext | None = None
) -> tuple[str | None, str]:
    def hook() -> tuple[str | None, str]:
        return seen_from_outside()

    return hook()


def test_the_stack_names_the_rollout_by_its_record_or_by_its_context() -> None:
    blocking, stacks = in_hook(Trajectory(id="abc", messages=[]))
    assert blocking == "abc"
    assert "in hook" in stacks
    assert in_hook(None, RolloutContext("def"))[0] == "def"
    assert in_hook()[0] is None
