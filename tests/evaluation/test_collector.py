"""Garbage is looked for when there is much more than before, and a steady run is left alone."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from rollway.evaluation import collector
from rollway.evaluation.collector import THRESHOLDS, collecting_rarely


class Node:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generation of every collection from here on."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


@pytest.fixture(autouse=True)
def nothing_set_aside() -> Iterator[None]:
    """The suite has set its tests aside for good."""
    gc.unfreeze()
    yield
    gc.freeze()


async def test_settings_are_as_they_were_afterwards_also_after_a_fault() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    try:
        with collecting_rarely():
            assert gc.get_threshold() == THRESHOLDS
            assert gc.get_freeze_count() > 0
            raise KeyError
    except KeyError:
        pass
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


async def test_cycles_are_found_when_there_is_twice_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(collector, "GROWTH", 1000)
    with collecting_rarely():
        await asyncio.sleep(0)
        seen = weakref.ref(Node())
        kept: list[object] = []
        async with asyncio.timeout(20):
            while seen() is not None:
                kept += [object() for _ in range(20_000)]
                await asyncio.sleep(0.001)


async def test_a_run_whose_memory_is_steady_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, collections: list[int]
) -> None:
    looks = asyncio.Event()
    counts = iter([100, 190, 200, 199])

    def blocks() -> int:
        left = next(counts, None)
        if left is None:
            looks.set()
        return left or 199

    monkeypatch.setattr(collector, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(collector, "GROWTH", 0)
    monkeypatch.setattr(collector, "getallocatedblocks", blocks)
    with collecting_rarely():
        del collections[:]
        async with asyncio.timeout(20):
            await looks.wait()
        assert collections == []


async def test_cycles_are_found_while_the_loop_is_held_up() -> None:
    with collecting_rarely():
        seen = weakref.ref(Node())
        kept: list[list[object]] = []
        while seen() is not None:
            kept.append([])
            assert len(kept) < 2 * THRESHOLDS[0]


async def test_what_somebody_else_set_aside_stays_so() -> None:
    gc.freeze()
    try:
        with collecting_rarely():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
