"""A process tool can be killed: nothing that it starts outlives its deadline, its caller or its pool."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollway.clock import RolloutClock
from rollway.environments.loading import import_file
from rollway.tools import ExecutedCall, Notes, Tool, ToolFailed, ToolOutput, ToolPool, ToolRegistry, tool
from rollway.tools.execution import execute_call
from rollway.tools.process_worker import descendants
from rollway.trajectory import ToolCall, ToolErrorKind

Becomes = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture(scope="module")
def shared() -> Iterator[ToolPool]:
    """One pool for the tests that leave it as it was: starting a process is what costs here."""
    with ToolPool(2) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ToolPool]:
    with ToolPool(2) as made:
        yield made


async def ran(pool: ToolPool, made: Tool, timeout: float | None = 30, **arguments: Any) -> ExecutedCall:
    call = ToolCall("call_1", made.name, json.dumps(arguments))
    return await execute_call(call, registry=ToolRegistry([made]), pool=pool, turn=1, timeout=timeout)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


@tool(process=True)
def divide(a: float, b: float) -> float:
    """Divide."""
    return a / b


@tool(process=True)
def own_pid() -> int:
    """Say which process this is."""
    return os.getpid()


@tool(process=True)
def spin(pid_file: str) -> None:
    """Never return, holding the interpreter's lock, with a daemon in a session of its own beside it."""
    program = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
    daemon = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    pid = daemon.stdout.readline()
    Path(f"{pid_file}.new").write_text(f"{os.getpid()} {pid}")
    os.rename(f"{pid_file}.new", pid_file)
    ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the lock


@tool(process=True)
def end(how: str) -> None:
    """End the process."""
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)


@tool(process=True)
def speak(how: str) -> Any:
    """Answer in one of several ways."""
    print("noise on stdout")
    os.write(1, b"\0" * 100)
    os.write(2, b"more noise")
    if how == "failed":
        raise ToolFailed("not today")
    if how == "stop":
        return ToolOutput("over", stop=True)
    if how == "exit":
        sys.exit("gone")
    if how == "nan":
        return float("nan")
    return {"said": sys.stdin.read(), "surrogate": "\ud800"}


async def test_a_call_runs_in_another_process_and_answers_as_any_tool(shared: ToolPool) -> None:
    assert int((await ran(shared, own_pid)).result.content) != os.getpid()
    assert (await ran(shared, divide, a=3, b="2")).result.content == "1.5"
    assert divide(3, 2) == 1.5
    raised = await ran(shared, divide, a=1, b=0)
    assert raised.error is not None
    assert raised.error.kind is ToolErrorKind.EXCEPTION
    assert raised.result.content == "Error: tool 'divide' raised ZeroDivisionError: float division by zero"
    assert "test_processes.py" in raised.error.error


class SlowToUnpack:
    """Takes as long as an import on a busy machine."""

    def __reduce__(self) -> Any:
        return time.sleep, (0.8,)


async def test_what_a_process_has_to_import_first_is_not_the_tools_time(shared: ToolPool) -> None:
    module = SlowToUnpack()
    clock = RolloutClock()

    @tool(process=True)
    def use() -> str:
        """Use it."""
        return f"used {module}"

    call = ToolCall("call_1", "use", "{}")
    executed = await execute_call(
        call, registry=ToolRegistry([use]), pool=shared, turn=1, timeout=0.7, clock=clock
    )
    assert (executed.result.content, executed.result.ok) == ("used None", True)
    assert executed.result.queued > 0.7 > executed.result.duration
    assert clock.seconds()["pool"] > 0.7


@pytest.mark.parametrize(
    ("how", "kind", "told"),
    [
        ("failed", ToolErrorKind.TOOL_REPORTED, "not today"),
        ("stop", None, "over"),
        ("exit", ToolErrorKind.EXCEPTION, "raised SystemExit: gone"),
        ("nan", ToolErrorKind.EXCEPTION, "cannot be written as JSON"),
        ("plain", None, '{"said":"","surrogate":"?"}'),
    ],
)
async def test_noise_does_not_get_into_the_answer(
    shared: ToolPool, how: str, kind: ToolErrorKind | None, told: str
) -> None:
    executed = await ran(shared, speak, how=how)
    assert told in executed.result.content
    assert (executed.error and executed.error.kind) == kind
    assert executed.stop == (how == "stop")


async def test_idle_workers_are_used_again(shared: ToolPool) -> None:
    pids = {(await ran(shared, own_pid)).result.content for _ in range(4)}
    assert len(pids) == 1


@pytest.mark.parametrize(
    ("how", "words"), [("exit", "exit code 3"), ("SIGSEGV", "SIGSEGV"), ("SIGKILL", "out of memory")]
)
async def test_a_process_that_dies_says_by_what(pool: ToolPool, how: str, words: str) -> None:
    executed = await ran(pool, end, how=how)
    assert executed.error is not None
    assert executed.error.kind is ToolErrorKind.EXCEPTION
    assert words in executed.result.content
    assert (await ran(pool, divide, a=1, b=2)).result.content == "0.5"


async def test_at_the_deadline_everything_is_killed(pool: ToolPool, tmp_path: Path, becomes: Becomes) -> None:
    file = tmp_path / "pids"
    await ran(pool, own_pid)  # a worker is there, so that the deadline is the tool's alone
    for timeout in (2, 20, 60):  # which leaves a slow machine the time for two processes
        executed = await ran(pool, spin, timeout=timeout, pid_file=str(file))
        if file.exists():
            break
    assert executed.error is not None
    assert executed.error.kind is ToolErrorKind.TIMEOUT
    pids = [int(pid) for pid in file.read_text().split()]
    await becomes(lambda: all(map(is_gone, pids)))
    await becomes(lambda: pool.stats().running_processes == 0)
    assert (await ran(pool, divide, a=1, b=2)).result.content == "0.5"


async def test_cancelling_the_caller_kills_everything(
    pool: ToolPool, tmp_path: Path, becomes: Becomes
) -> None:
    file = tmp_path / "pids"
    calls = [asyncio.create_task(ran(pool, spin, None, pid_file=str(file))) for _ in range(1)]
    await becomes(lambda: file.exists() and len(file.read_text().split()) == 2)
    calls[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[0]
    await becomes(lambda: all(is_gone(int(pid)) for pid in file.read_text().split()))
    await becomes(lambda: pool.stats().running_processes == 0)


async def test_closing_the_pool_leaves_nothing(tmp_path: Path, becomes: Becomes) -> None:
    file = tmp_path / "pids"
    pool = ToolPool(1)
    running = asyncio.create_task(ran(pool, spin, None, pid_file=str(file)))
    await becomes(lambda: file.exists() and len(file.read_text().split()) == 2)
    waiting = asyncio.create_task(ran(pool, own_pid))
    await becomes(lambda: pool.stats().queued == 1)
    before = descendants(os.getpid())
    pool.close()
    for call in (running, waiting):
        executed = await call
        assert executed.error is not None
        assert executed.error.kind is ToolErrorKind.CANCELLED
    assert "did not finish" in running.result().result.content
    assert "was not run" in waiting.result().result.content
    pids = [int(pid) for pid in file.read_text().split()]
    assert set(pids) <= set(before)
    await becomes(lambda: all(map(is_gone, pids)))
    assert "was not run" in (await ran(pool, own_pid)).result.content


async def test_a_killed_parent_leaves_nothing(tmp_path: Path, becomes: Becomes) -> None:
    program = f"""
        import asyncio, ctypes, os, subprocess, sys
        from pathlib import Path
        from rollway import ToolPool, tool

        @tool(process=True)
        def spin() -> None:
            child = subprocess.Popen(["setsid", "sleep", "600"])
            Path({str(tmp_path / "new")!r}).write_text(f"{{os.getpid()}} {{os.getppid()}} {{child.pid}}")
            os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "pids")!r})
            ctypes.PyDLL(None).sleep(600)

        asyncio.run(ToolPool(1).call_in_process(spin.function, (), {{}}))
    """
    parent = subprocess.Popen(  # noqa: ASYNC220 (it is to be killed, not awaited)
        [sys.executable, "-c", textwrap.dedent(program)]
    )
    await becomes((tmp_path / "pids").exists)
    parent.kill()
    parent.wait()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await becomes(lambda: all(map(is_gone, pids)))


async def test_no_more_run_than_the_pool_has_workers_and_no_thread_waits(
    pool: ToolPool, gate: threading.Event, tmp_path: Path, becomes: Becomes
) -> None:
    hung = [asyncio.create_task(pool.call(gate.wait)) for _ in range(2)]  # all the pool's threads
    await becomes(lambda: pool.stats().running == 2)
    asked = time.monotonic()
    calls = [asyncio.create_task(ran(pool, _nap, folder=str(tmp_path), seconds=0.2)) for _ in range(4)]
    await becomes(lambda: pool.stats().running_processes == 2 and pool.stats().queued == 2)
    results = [(await call).result for call in calls]
    took = time.monotonic() - asked
    assert all(result.ok for result in results)
    assert all(result.queued + result.duration <= took for result in results)
    assert set(os.listdir(tmp_path)) == {"1", "2"}  # at a time
    gate.set()
    await asyncio.gather(*hung)


@tool(name="nap", process=True)
def _nap(folder: str, seconds: float) -> None:
    """Sleep, and note how many do; the first until there are two."""
    mine, deadline = Path(folder).parent / f"nap-{os.getpid()}", time.monotonic() + 60
    (Path(folder) / "1").touch()
    mine.touch()
    until = time.monotonic() + seconds
    while time.monotonic() < until or (time.monotonic() < deadline and not (Path(folder) / "2").exists()):
        (Path(folder) / str(len(list(mine.parent.glob("nap-*"))))).touch()
        time.sleep(0.01)
    mine.unlink()


async def test_a_call_that_waits_for_a_process_can_be_cancelled(pool: ToolPool, becomes: Becomes) -> None:
    pool.resize(1)
    first = asyncio.create_task(ran(pool, _sleep, seconds=1.0))
    second = asyncio.create_task(ran(pool, own_pid))
    await becomes(lambda: pool.stats().queued == 1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert pool.stats().queued == 0
    assert (await first).error is None
    assert (await ran(pool, own_pid)).error is None


@tool(name="sleep", process=True)
async def _sleep(seconds: float) -> None:
    """Sleep; an async function has a loop of its own there."""
    await asyncio.sleep(seconds)


async def test_a_worker_with_something_left_in_it_is_not_used_again(pool: ToolPool, becomes: Becomes) -> None:
    for leave in ("thread", "child", "daemon"):
        executed = await ran(pool, litter, leave=leave)
        pid = int(executed.result.content)
        await becomes(lambda pid=pid: is_gone(pid))  # type: ignore[misc]


@tool(process=True)
def litter(leave: str) -> int:
    """Return, and leave something running."""
    if leave == "thread":
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    elif leave == "child":
        subprocess.Popen(["sleep", "600"])
    elif os.fork() == 0:
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    else:
        os.wait()
    return os.getpid()


async def test_a_copy_that_the_tool_forked_does_not_answer_too(pool: ToolPool) -> None:
    assert json.loads((await ran(pool, _forked)).result.content) == "parent"
    assert (await ran(pool, divide, a=1, b=2)).result.content == "0.5"


@tool(name="forked", process=True)
def _forked() -> list[str] | str:
    """Fork and return twice."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return '"parent"' if child else ["child"]


async def test_an_idle_worker_that_died_is_replaced(pool: ToolPool, becomes: Becomes) -> None:
    pid = int((await ran(pool, own_pid)).result.content)
    os.kill(pid, signal.SIGKILL)
    await becomes(lambda: is_gone(pid))
    assert (await ran(pool, divide, a=1, b=2)).result.content == "0.5"


def test_one_pool_serves_several_event_loops(shared: ToolPool) -> None:
    results: list[ExecutedCall] = []
    threads = [
        threading.Thread(target=lambda: results.append(asyncio.run(ran(shared, divide, a=1, b=2))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [executed.result.content for executed in results] == ["0.5"] * 3


async def test_a_users_file_works_though_the_process_cannot_import_it(
    shared: ToolPool, tmp_path: Path
) -> None:
    (tmp_path / "helper.py").write_text("def double(n):\n    return 2 * n\n")
    source = """
    import dataclasses
    import helper
    from rollway import tool

    @dataclasses.dataclass
    class Point:
        x: int

    @tool
    def other() -> int:
        return 1

    @tool(process=True)
    def shift(point: Point) -> Point:
        return Point(helper.double(point.x) + other())

    @tool(process=True)
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(source))
    await ran(shared, own_pid)  # its worker started before the file's folder was on the import path
    mine = import_file(tmp_path / "mine.py", None)
    assert (await ran(shared, mine.shift, point={"x": 3})).result.content == '{"x":7}'
    assert (await ran(shared, mine.fib, n=10)).result.content == "55"


async def test_what_cannot_leave_this_process_is_an_error_in_one_line(shared: ToolPool) -> None:
    lock = threading.Lock()

    @tool(process=True)
    def locked() -> bool:
        return lock.locked()

    executed = await ran(shared, locked)
    assert executed.error is not None
    assert "cannot send the call to a separate process" in executed.result.content
    assert "\n" not in executed.result.content


def test_what_the_rollout_fills_in_cannot_cross() -> None:
    def keep(notes: Notes) -> None: ...

    with pytest.raises(TypeError, match=r"'keep' runs in a separate process.*'notes'"):
        tool(keep, process=True)


async def test_starting_and_asking_a_process_does_not_hold_up_the_loop(pool: ToolPool) -> None:
    slowest = 0.0
    gc.collect()
    gc.disable()  # it takes its time from whoever runs, for all that other tests have left
    try:
        call = asyncio.create_task(ran(pool, _sleep, seconds=0.2))
        last = time.thread_time()
        while not call.done():
            await asyncio.sleep(0)
            now = time.thread_time()
            slowest, last = max(slowest, now - last), now
    finally:
        gc.enable()
    assert call.result().error is None
    assert slowest < 0.1  # CPU seconds of one step of the loop, pickling included
