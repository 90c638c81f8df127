"""Signals as a process sees them: the first stops in good order, the second ends it, whatever hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

START = """
import asyncio, os, signal, sys, threading, time
from rollway.interrupts import end_within, interruptible, interrupts_call

def ready():
    print("ready", flush=True)
"""


@pytest.fixture
def started() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs a program and waits until it has said that it is ready."""
    running: list[subprocess.Popen[str]] = []

    def start(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", START + program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def rest_of(process: subprocess.Popen[str]) -> str:
    """What it prints until its end. (`communicate` would miss what was read together with the first line.)"""
    assert process.stdout is not None
    rest = process.stdout.read()
    process.wait(60)
    return rest


ORDERLY = """
async def main():
    stopped = asyncio.Event()
    with interrupts_call(stopped.set, lambda: None):
        ready()
        await stopped.wait()
        print("stopped", flush=True)

with interruptible():
    asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_in_good_order(started, number: int) -> None:
    process = started(ORDERLY)
    process.send_signal(number)
    assert rest_of(process) == "stopped\n"
    assert process.returncode == 0


RAISING = """
with interruptible():
    try:
        ready()
        time.sleep(600)
    except KeyboardInterrupt:
        print("raised", flush=True)
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_where_nobody_listens_the_main_thread_is_told(started, number: int) -> None:
    process = started(RAISING)
    process.send_signal(number)
    assert rest_of(process) == "raised\n"
    assert process.returncode == 130


HUNG_LOOP = """
async def main():
    with interrupts_call(lambda: print("first", flush=True), lambda: print("second", flush=True)):
        ready()
        while True:
            {hang}

with interruptible():
    asyncio.run(main())
"""


@pytest.mark.parametrize("hang", ["time.sleep(600)", "pass", "threading.Event().wait()"])
def test_the_second_ends_a_process_whose_event_loop_does_not_turn(started, hang: str) -> None:
    process = started(HUNG_LOOP.format(hang=hang))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)  # which is longer than what counts as one signal
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.communicate()[0] == "second\n"


HUNG_AFTER_THE_FIRST = """
with interruptible():
    try:
        ready()
        time.sleep(600)
    except KeyboardInterrupt:
        print("tidying", flush=True)
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
"""


def test_the_second_ends_a_process_that_hangs_while_it_stops(started) -> None:
    process = started(HUNG_AFTER_THE_FIRST)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "tidying\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130


HUNG_DISPLAY = """
async def main():
    with interrupts_call(lambda: print("first", flush=True), lambda: time.sleep(600)):
        ready()
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_what_is_done_at_the_second_signal_cannot_keep_the_process(started) -> None:
    process = started(HUNG_DISPLAY)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


WITH_CHILDREN = """
import subprocess
async def main():
    with interrupts_call(lambda: print("first", flush=True), lambda: None):
        subprocess.Popen(["sh", "-c", "sleep 600 & echo ready; wait"], start_new_session=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_what_the_process_has_started_ends_with_it_at_the_second_signal(started) -> None:
    process = started(WITH_CHILDREN)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stdout.read() == ""  # the children have it open as long as they live


COPIED = """
def wait_for_signal():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        pass

async def main():
    stopped = asyncio.Event()
    with interrupts_call(stopped.set, lambda: print("second", flush=True)):
        child = os.fork()
        if child == 0:
            wait_for_signal()
            os._exit(0)
        time.sleep(0.3)
        os.kill(child, signal.SIGINT)
        os.waitpid(child, 0)
        ready()
        await stopped.wait()
        print("stopped", flush=True)

asyncio.run(main())
"""


def test_a_signal_of_a_copy_of_the_process_is_not_its_own(started) -> None:
    process = started(COPIED)
    process.send_signal(signal.SIGINT)
    assert rest_of(process) == "stopped\n"
    assert process.returncode == 0


TWICE = """
async def main():
    stopped = asyncio.Event()
    with interrupts_call(stopped.set, lambda: print("second", flush=True)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped.wait()
        print("stopped", flush=True)

ready()
asyncio.run(main())
"""


def test_a_signal_that_is_sent_to_process_and_group_counts_once(started) -> None:
    process = started(TWICE)
    assert rest_of(process) == "stopped\n"
    assert process.returncode == 0


HUNG_END = """
import atexit
threading.Thread(target=time.sleep, args=(600,)).start()
atexit.register(time.sleep, 600)
ready()
print("the last line", end="")
end_within(0.1, 7)
"""


def test_no_thread_and_no_exit_function_keeps_the_process_after_its_end(started) -> None:
    process = started(HUNG_END)
    assert rest_of(process) == "the last line"
    assert process.returncode == 7


HELD_LOCK = """
import ctypes
with interruptible(guard=True):
    ready()
    threading.Thread(target=ctypes.PyDLL(None).sleep, args=(600,), daemon=True).start()  # never lets go
    time.sleep(600)
"""


def test_the_second_ends_a_process_one_of_whose_threads_holds_the_interpreters_lock(started) -> None:
    process = started(HELD_LOCK)
    for _ in range(2):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGKILL


GUARDED = """
async def main():
    with interrupts_call(lambda: print("first", flush=True), lambda: print("second", flush=True)):
        ready()
        await asyncio.sleep(600)

with interruptible(guard=True):
    asyncio.run(main())
"""


def test_a_guarded_process_ends_as_any_other(started) -> None:
    process = started(GUARDED)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stdout.read() == "second\n"
