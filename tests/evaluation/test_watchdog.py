"""An event loop that is held up is told of, with the rollout that is likely to blame and where it stands."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rollway.clock import RolloutClock
from rollway.evaluation.watchdog import Watchdog


async def test_a_loop_that_is_held_up_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    guilty, waiting = RolloutClock("t7/3"), RolloutClock("t8/0")
    told: list[str] = []
    heard = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        heard.set()

    def hold_up_the_loop() -> bool:
        return heard.wait(60)

    watchdog = Watchdog(lambda: [guilty, waiting], tell=tell, silent_seconds=0.1).start()
    with guilty.doing("reward:judge"), waiting.doing("model"):
        assert hold_up_the_loop()
    watchdog.stop()
    assert "the event loop has not turned for" in told[0]
    assert "most likely t7/3 in reward:judge;" in told[0]
    assert "t8/0" not in told[0]
    assert "hold_up_the_loop" in caplog.text


async def test_a_loop_that_turns_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    watchdog = Watchdog(list, tell=told.append, silent_seconds=5.0).start()
    await asyncio.sleep(0)
    watchdog.stop()
    assert told == []
