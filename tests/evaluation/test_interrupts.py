"""Ctrl-C and SIGTERM, as a process sees them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from rollway.evaluation.interrupts import interrupts_call

PROGRAM = """
import asyncio, sys
from rollway.evaluation.interrupts import interrupts_call

async def main():
    with interrupts_call(lambda: print("first", flush=True), lambda: print("second", flush=True)):
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "first\n"
        process.send_signal(number)
        assert process.stdout.read() == "second\n"
        assert process.wait(60) == 130


async def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    called = asyncio.Event()
    with interrupts_call(called.set, lambda: None):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(called.wait(), 60)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_off_the_main_thread_nothing_is_touched() -> None:
    def elsewhere() -> None:
        async def main() -> None:
            with interrupts_call(lambda: None, lambda: None):
                pass

        asyncio.run(main())

    await asyncio.to_thread(elsewhere)
