"""What a bubblewrap sandbox may use is bounded, whatever runs in it; the host and its own agent go on."""

from __future__ import annotations

import asyncio
import time

import pytest

from rollway.tools.sandboxes import Sandbox, SandboxError, SandboxFileError
from rollway.tools.sandboxes.cgroups import parents

MIB = 1 << 20
LONG = 60.0  # seconds for what takes less than one on an idle machine

GREEDY_CHILDREN = """
import os, time
children = []
for _ in range(6):
    children.append(os.fork())
    if children[-1] == 0:
        block = bytearray(os.urandom(1 << 20)) * 150
        time.sleep(600)
print([os.wait()[1] for _ in range(2)], flush=True)
for child in children:
    try:
        os.kill(child, 9)
    except ProcessLookupError:
        pass
"""


async def goes_on(cell: Sandbox) -> bool:
    return (await cell.exec("echo on", timeout=LONG)).stdout == b"on\n"


async def test_processes_are_bounded(cell: Sandbox) -> None:
    forks = "import os, time\nfor n in range(200):\n    if os.fork() == 0: time.sleep(600)"
    done = await cell.exec(
        ["python3", "-c", f"try:\n    exec({forks!r})\nexcept OSError: print(n)"], timeout=LONG
    )
    assert 20 < int(done.stdout) < 33


async def test_a_fork_bomb_ends_and_starves_nobody(cell: Sandbox) -> None:
    started = time.monotonic()
    done = await cell.exec(":(){ :|:& };:; wait; sleep 100", timeout=1.0)
    assert done.timed_out or done.exit_code != 0  # it may find that it can start nothing more, and end before
    assert time.monotonic() - started < LONG
    assert await goes_on(cell)
    await cell.kill_all()
    reaped = "until [ $(ls -d /proc/[0-9]* | wc -l) -lt 10 ]; do sleep 0.01; done"
    assert not (await cell.exec(reaped, timeout=LONG)).timed_out


async def test_a_fork_bomb_in_the_background_leaves_the_agent_able(cell: Sandbox) -> None:
    await cell.exec("(while :; do (sleep 1 &) ; done) >/dev/null 2>&1 &", timeout=5)
    assert await goes_on(cell)
    await cell.write("file", b"x")
    await cell.kill_all()
    assert await goes_on(cell)


async def test_where_no_process_can_be_started_a_command_says_so_and_the_sandbox_goes_on(
    cell: Sandbox,
) -> None:
    if not parents():
        pytest.skip("no cgroup with a controller for processes can be made here")
    ends: list[asyncio.Task[int]] = []
    while not any(end.done() for end in ends):  # each has a supervisor, and these are bounded as well
        assert len(ends) < 1000
        try:
            process = await cell.start(["sleep", "1000"])
        except SandboxError:
            break
        ends.append(asyncio.ensure_future(process.wait()))
        await asyncio.sleep(0.005)  # one that cannot be started ends soon
    done = await cell.exec(["true"])
    assert done.exit_code == 126
    assert b"cannot start a process" in done.stderr
    await cell.kill_all()
    assert await goes_on(cell)
    assert {await end for end in ends} <= {126, 137}


async def test_the_memory_of_one_process_is_bounded(cell: Sandbox) -> None:
    done = await cell.exec(["python3", "-c", "x = b'x' * (300 << 20)"], timeout=LONG)
    assert b"MemoryError" in done.stderr


async def test_the_memory_of_all_processes_together_is_bounded(cell: Sandbox) -> None:
    if not parents():
        pytest.skip("no cgroup with a memory controller can be made here")
    done = await cell.exec(["python3", "-c", GREEDY_CHILDREN], timeout=LONG)
    assert not done.timed_out  # 900 MiB are wanted, 384 are there: two are killed, or who waits for them
    assert done.stdout == b"[9, 9]\n" or done.exit_code == 137
    assert await goes_on(cell)


async def test_a_huge_file_ends_at_the_limit_of_a_file(cell: Sandbox) -> None:
    done = await cell.exec("head -c 10G /dev/zero > big; stat -c %s big", timeout=LONG)
    assert int(done.stdout) == 16 * MIB
    done = await cell.exec(["truncate", "-s", "10G", "sparse"], timeout=LONG)
    assert done.exit_code != 0


async def test_the_disk_is_bounded_and_what_is_over_is_refused(cell: Sandbox) -> None:
    done = await cell.exec(
        "for n in 1 2 3 4 5 6 7 8; do head -c 15M /dev/zero > f$n; done; du -sm .", timeout=LONG
    )
    assert int(done.stdout.split()[0]) <= 64
    assert b"No space left" in done.stderr
    with pytest.raises(SandboxFileError, match="No space left"):
        await cell.write("more", b"x" * MIB)
    for folder in ("/tmp", "/home/sandbox", "/dev/shm"):
        done = await cell.exec(
            f"for n in 1 2; do head -c 15M /dev/zero > {folder}/f$n; done; echo", timeout=LONG
        )
        assert b"No space left" in done.stderr
    assert await goes_on(cell)


async def test_endless_output_ends_and_costs_us_no_memory(cell: Sandbox) -> None:
    done = await cell.exec("cat /dev/zero", timeout=LONG, max_output=1000)
    assert done.output_exceeded
    assert len(done.stdout) == 1000
    assert done.stdout_cut > 3 * MIB


async def test_cpu_time_and_open_files_are_bounded(cell: Sandbox) -> None:
    done = await cell.exec("ulimit -t; ulimit -n; ulimit -c; ulimit -Ht")
    assert done.stdout.split() == [b"600", b"1024", b"0", b"600"]
