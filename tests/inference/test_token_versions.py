"""Which weights sampled a token: the server's word first, then the trainer's, and both where they differ."""

from __future__ import annotations

import asyncio
import time

import pytest

from rollway.clock import RolloutClock, WaitKind
from rollway.inference.errors import NoReplyInTime
from rollway.inference.weight_updates import UpdateGate, join_spans, label_tokens
from rollway.trajectory import VersionSpan

TWO = [VersionSpan("a", 0, 1), VersionSpan("b", 1, 3)]


@pytest.mark.parametrize(
    ("spans", "said", "before", "after", "expected"),
    [
        (TWO, None, None, None, TWO),
        (TWO, None, "1", "2", TWO),  # spans are exact, whatever the trainer calls the weights
        ([VersionSpan("default", 0, 3)], None, None, None, [VersionSpan("default", 0, 3)]),
        ([VersionSpan("default", 0, 3)], None, "1", "1", [VersionSpan("1", 0, 3)]),  # nobody told the server
        ([VersionSpan("default", 0, 3)], None, "1", "2", [VersionSpan("1", 0, 3, until="2")]),
        ([], "7", None, None, [VersionSpan("7", 0, 3)]),
        ([], "7", "7", "8", [VersionSpan("7", 0, 3)]),  # the server says that it was done before the update
        ([], "8", "7", "8", [VersionSpan("7", 0, 3, until="8")]),
        ([], "default", "7", "7", [VersionSpan("7", 0, 3)]),
        ([], "default", None, None, [VersionSpan("default", 0, 3)]),
        ([], None, "7", "7", [VersionSpan("7", 0, 3)]),
        ([], None, "7", "8", [VersionSpan("7", 0, 3, until="8")]),
        ([], None, None, None, []),
    ],
)
def test_tokens_are_labelled(
    spans: list[VersionSpan],
    said: str | None,
    before: str | None,
    after: str | None,
    expected: list[VersionSpan],
) -> None:
    assert label_tokens(spans, said, count=3, before=before, after=after) == expected


def test_a_reply_without_tokens_has_no_version() -> None:
    assert label_tokens([], "7", count=0, before="7", after="7") == []


def test_parts_of_one_version_make_one_span() -> None:
    assert join_spans(TWO, [VersionSpan("b", 0, 2), VersionSpan("c", 2, 3)], 3) == [
        VersionSpan("a", 0, 1),
        VersionSpan("b", 1, 5),
        VersionSpan("c", 5, 6),
    ]


def test_an_uncertain_part_stays_by_itself() -> None:
    uncertain = VersionSpan("b", 0, 2, until="c")
    assert join_spans(TWO, [uncertain], 3) == [*TWO, VersionSpan("b", 3, 5, until="c")]


async def test_a_pause_outlasts_an_update_and_an_update_a_resume() -> None:
    gate = UpdateGate("1")
    gate.pause()
    async with gate.update("2"):
        pass
    assert gate.closed
    gate.resume()
    assert not gate.closed
    async with gate.update("3"):
        gate.resume()
        assert gate.closed
    assert (gate.version, gate.closed, gate.closings) == ("3", False, 3)


async def test_updates_run_one_after_the_other() -> None:
    gate = UpdateGate()
    order: list[str] = []

    async def update(version: str) -> None:
        async with gate.update(version):
            order.append(f"begin {version}")
            await asyncio.sleep(0)
            order.append(f"end {version}")

    await asyncio.gather(update("1"), update("2"))
    assert order == ["begin 1", "end 1", "begin 2", "end 2"]
    assert gate.version == "2"


async def test_what_ends_while_an_update_runs_may_be_of_either_version_unless_it_was_aborted() -> None:
    gate = UpdateGate("1")
    async with gate.update("2"):
        assert gate.version_after(aborted=False) == "2"
        assert gate.version_after(aborted=True) == "1"
    assert gate.version_after(aborted=True) == "2"


async def test_an_update_is_a_wait_of_the_generations_that_have_begun_and_of_those_that_begin() -> None:
    gate, begun, later = UpdateGate(), RolloutClock(), RolloutClock()
    with gate.generating(begun):
        async with gate.update("2"):
            with gate.generating(later):
                assert begun.waits_now == later.waits_now == {WaitKind.WEIGHT_UPDATE}
                await asyncio.sleep(0.01)
        assert begun.waits_now == frozenset()
    assert list(begun.seconds()) == list(later.seconds()) == ["weight_update"]
    assert begun.working() <= begun.age() - 0.01


async def test_a_pause_is_a_wait_of_the_requests_that_it_holds_back_and_of_no_other() -> None:
    gate, held, sent = UpdateGate(), RolloutClock(), RolloutClock()
    with gate.generating(sent):
        gate.pause()
        with pytest.raises(NoReplyInTime) as raised:
            await gate.passed(time.monotonic() + 0.02, "http://s", held)
    assert raised.value.waiting_for is WaitKind.WEIGHT_UPDATE
    assert held.seconds()["weight_update"] >= 0.02
    assert sent.seconds() == {}
