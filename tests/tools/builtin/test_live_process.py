"""Requests and their answers on a stream, however it is cut into pieces; with a process that is a script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.tools.builtin import live_process
from rollway.tools.builtin.live_process import Ending, LiveProcess, mark_ends, new_nonce
from rollway.tools.sandboxes import SandboxError

NONCE = "0123456789abcdef"


class Script:
    """Writes what ``answer`` makes of each request, in pieces of ``size`` bytes."""

    def __init__(self, answer: Callable[[bytes], bytes], size: int = 1000) -> None:
        self.answer, self.size = answer, size
        self.out: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.reads = 0

    def say(self, data: bytes) -> None:
        for start in range(0, len(data), self.size):
            self.out.put_nowait(data[start : start + self.size])

    async def write(self, data: bytes) -> None:
        if self.ended.done():
            raise SandboxError("it has ended")
        self.say(self.answer(data))

    async def read(self) -> bytes:
        self.reads += 1
        return await self.out.get()

    async def kill(self, *, children_only: bool = False, started_after: float | None = None) -> None:
        if not children_only and not self.ended.done():
            self.ended.set_result(137)

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)


def marked(output: bytes, trailer: bytes, nonce: str = NONCE) -> bytes:
    begin, end = mark_ends(nonce)
    return output + begin + trailer + end


@given(before=st.binary(), trailer=st.binary(max_size=20), after=st.binary(), size=st.integers(1, 30))
def test_an_answer_is_the_same_however_it_is_cut(
    before: bytes, trailer: bytes, after: bytes, size: int
) -> None:
    """Even where the output holds half a mark, or what comes behind it looks like one."""

    async def run() -> None:
        half = mark_ends(NONCE)[0][:-1]
        live = LiveProcess(Script(lambda _: marked(before + half, trailer) + after, size))
        answer = await live.ask(b"x", NONCE, deadline=time.monotonic() + 60)
        assert answer.ending is Ending.ANSWERED
        assert answer.output == before + half
        assert answer.trailer == trailer.split(mark_ends(NONCE)[1])[0]
        await live.close()

    asyncio.run(run())


async def test_what_comes_between_two_answers_stands_before_the_second() -> None:
    script = Script(lambda request: marked(request, b"ok"))
    live = LiveProcess(script)
    assert (await live.ask(b"one", NONCE, deadline=time.monotonic() + 60)).output == b"one"
    script.say(b"between ")
    assert (await live.ask(b"two", NONCE, deadline=time.monotonic() + 60)).output == b"between two"
    await live.close()


async def test_a_mark_of_an_earlier_request_ends_nothing() -> None:
    old = new_nonce()
    script = Script(lambda _: marked(marked(b"a", b"1", old) + b"b", b"2"))
    live = LiveProcess(script)
    answer = await live.ask(b"x", NONCE, deadline=time.monotonic() + 60)
    assert answer.output == marked(b"a", b"1", old) + b"b"
    assert answer.trailer == b"2"
    await live.close()


async def test_a_process_that_floods_while_nobody_asks_is_not_read_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_process, "MAX_BYTES", 1000)
    script = Script(lambda _: marked(b"answer", b"ok"), size=100)
    live = LiveProcess(script)
    script.say(b"x" * 5000)
    while script.reads < 11:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert script.reads == 11
    assert (await live.ask(b"x", NONCE, deadline=time.monotonic() + 60)).trailer == b"ok"
    await live.close()


async def test_a_process_that_has_ended_is_told_with_its_last_words_and_exit_code() -> None:
    script = Script(lambda _: b"last")
    live = LiveProcess(script)
    asking = asyncio.ensure_future(live.ask(b"x", NONCE, deadline=time.monotonic() + 60))
    while script.reads < 2:
        await asyncio.sleep(0.001)
    script.ended.set_result(3)
    answer = await asking
    assert (answer.ending, answer.output, answer.exit_code) == (Ending.ENDED, b"last", 3)
    assert live.ended


async def test_a_process_that_answers_nothing_is_killed_soon_after_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_process, "GRACE", 0.05)
    script = Script(lambda _: b"begun")
    live = LiveProcess(script)
    answer = await live.ask(b"x", NONCE, deadline=time.monotonic() + 0.05)
    assert (answer.ending, answer.output) == (Ending.KILLED, b"begun")
    assert script.ended.result() == 137


async def test_a_process_has_its_grace_after_a_kill_however_long_that_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_process, "GRACE", 0.8)
    script = Script(lambda _: b"begun")
    kills = 0

    async def slow_kill(**_: object) -> None:
        nonlocal kills
        kills += 1
        if kills == 2:
            script.say(marked(b", and ended", b"ok"))
        await asyncio.sleep(0.9 if kills == 1 else 0)

    script.kill = slow_kill  # type: ignore[method-assign]
    live = LiveProcess(script)
    answer = await live.ask(b"x", NONCE, deadline=time.monotonic() + 0.05)
    assert (answer.ending, answer.output) == (Ending.STOPPED, b"begun, and ended")
    await live.close()
