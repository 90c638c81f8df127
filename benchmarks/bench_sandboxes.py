"""Bubblewrap sandboxes: how long one takes to start, what a command in it adds, and what is left of 500."""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from rollway.errors import UserError
from rollway.tools.sandboxes import Sandbox, SandboxLimits, SandboxSpec, check_backend, open_sandbox
from rollway.tools.sandboxes.orphans import base_folder, marked_processes, owner_name

MIB = 1 << 20
STARTS = 20
COMMANDS = 100
AT_ONCE = 256
ROLLOUTS = 500
PLACES = 16  # rollouts under way
HOSTILE = (
    ":(){ :|:& };:",
    "yes",
    "(setsid sleep 1000 &); sleep 1000 & disown",
    "kill -9 -1; sleep 1000",
    "kill -9 $PPID; sleep 1000",
    "head -c 10G /dev/zero > big",
    "trap '' TERM INT; sleep 1000",
)
LIMITS = SandboxLimits(memory=256 * MIB, processes=32, file_size=8 * MIB, disk=32 * MIB, output=MIB)
SPEC = SandboxSpec(limits=LIMITS)


async def milliseconds(action: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await action()
    return (time.perf_counter() - started) * 1e3


async def starts_and_commands() -> None:
    starts, ends, commands, plain = [], [], [], []
    for _ in range(STARTS):
        started = time.perf_counter()
        sandbox = await open_sandbox(SPEC)
        starts.append((time.perf_counter() - started) * 1e3)
        for _ in range(COMMANDS // STARTS):
            commands.append(await milliseconds(lambda: sandbox.exec(["true"])))  # noqa: B023
            before = time.perf_counter()
            subprocess.run(["true"], check=True)  # noqa: ASYNC221
            plain.append((time.perf_counter() - before) * 1e3)
        ends.append(await milliseconds(sandbox.close))
    start, end = statistics.median(starts), statistics.median(ends)
    command, bare = statistics.median(commands), statistics.median(plain)
    print(f"start of a sandbox                {start:6.1f} ms, and its end {end:.1f} ms (median; bar 50 ms)")
    print(
        f"`true` in a sandbox               {command:6.1f} ms, as a plain subprocess {bare:.1f} ms (median)"
    )
    print(f"what the sandbox adds to it       {command - bare:6.1f} ms (bar 10 ms)")


async def many_at_once() -> None:
    started, turns = time.perf_counter(), []

    async def watch_the_loop() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            turns.append((time.thread_time() - before) * 1e3)

    watcher = asyncio.ensure_future(watch_the_loop())
    sandboxes: list[Sandbox] = await asyncio.gather(*(open_sandbox(SPEC) for _ in range(AT_ONCE)))
    opened = time.perf_counter()
    await asyncio.gather(*(sandbox.exec("echo on") for sandbox in sandboxes))
    ran, threads = time.perf_counter(), threading.active_count()
    await asyncio.gather(*(sandbox.close() for sandbox in sandboxes))
    closed = time.perf_counter()
    watcher.cancel()
    print(
        f"{AT_ONCE} at once                       start {opened - started:.1f} s, a command in each "
        f"{ran - opened:.1f} s, end {closed - ran:.1f} s; {threads} threads of ours; "
        f"the loop's longest turn {max(turns):.0f} ms CPU"
    )


async def hostile_rollouts() -> None:
    places = asyncio.Semaphore(PLACES)

    async def rollout(number: int) -> None:
        async with places:
            sandbox = await open_sandbox(SPEC)
            try:
                await sandbox.exec(HOSTILE[number % len(HOSTILE)], timeout=0.15)
            finally:
                await sandbox.close()

    await asyncio.gather(*(rollout(number) for number in range(ROLLOUTS)))


def counts() -> dict[str, int]:
    """What is there now, of ours and of the machine's mounts."""
    owner = owner_name()
    folder = base_folder() / owner
    status = Path("/proc/self/status").read_text()
    return {
        "processes": sum(marker.parent.name == owner for _, marker in marked_processes()),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": sum(1 for _ in Path("/sys/fs/cgroup").glob(f"**/rollway.{owner}.*")),
        "temp folders": sum(1 for _ in folder.iterdir()) if folder.exists() else 0,
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "RSS MiB": int(status.split("VmRSS:")[1].split()[0]) >> 10,
    }


def main(_: list[str]) -> None:
    try:
        check_backend(SPEC)
    except UserError as error:
        print(f"left out: {error}")
        return
    asyncio.run(starts_and_commands())
    asyncio.run(many_at_once())
    before, started = counts(), time.perf_counter()
    asyncio.run(hostile_rollouts())
    seconds, after = time.perf_counter() - started, counts()
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{ROLLOUTS} hostile rollouts             {seconds:6.1f} s, {PLACES} at a time")
    print("left of them (before -> after)    " + ", ".join(f"{k} {before[k]} -> {after[k]}" for k in before))
    print(f"our own CPU time, in all          {cpu.ru_utime + cpu.ru_stime:6.1f} s")
