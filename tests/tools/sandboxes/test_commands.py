"""Commands and processes of a sandbox, in both backends that the agent serves."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from rollway.tools.sandboxes import Sandbox, SandboxError, SandboxFileError
from rollway.tools.sandboxes.orphans import marked_processes


async def test_a_command_gives_its_code_and_both_outputs(sandbox: Sandbox) -> None:
    done = await sandbox.exec("echo out; echo err >&2; exit 3")
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert not done.timed_out
    assert not done.output_exceeded


async def test_a_list_is_run_as_it_is(sandbox: Sandbox) -> None:
    assert (await sandbox.exec(["echo", "$HOME; *"])).stdout == b"$HOME; *\n"


async def test_a_command_that_is_not_there_ends_with_127(sandbox: Sandbox) -> None:
    done = await sandbox.exec(["no-such-command"])
    assert done.exit_code == 127
    assert b"no-such-command" in done.stderr


async def test_a_command_gets_its_input_and_its_end(sandbox: Sandbox) -> None:
    data = bytes(range(256)) * 8192
    assert (await sandbox.exec(["cat"], stdin=data, max_output=len(data))).stdout == data
    assert (await sandbox.exec("cat", timeout=60)).exit_code == 0


async def test_input_that_nobody_reads_is_no_fault(sandbox: Sandbox) -> None:
    assert (await sandbox.exec("exec <&-; echo done", stdin=b"x" * 3_000_000)).stdout == b"done\n"


async def test_a_long_output_keeps_its_beginning_and_its_end(sandbox: Sandbox) -> None:
    done = await sandbox.exec("seq 100000", max_output=100)
    assert done.stdout.startswith(b"1\n2\n3\n")
    assert done.stdout.endswith(b"99999\n100000\n")
    assert len(done.stdout) == 100
    assert done.stdout_cut == len("".join(f"{n}\n" for n in range(1, 100001))) - 100


async def test_endless_output_is_ended_at_the_limit(sandbox: Sandbox) -> None:
    done = await sandbox.exec("yes & yes", timeout=60)
    assert done.output_exceeded
    assert done.exit_code == 137
    assert len(done.stdout) == 1 << 20
    assert await _running(sandbox, "yes") == 0


async def test_a_signal_is_told_as_a_shell_tells_it(sandbox: Sandbox) -> None:
    assert (await sandbox.exec("kill -TERM $$")).exit_code == 143


async def test_commands_start_in_the_workspace_with_variables_of_their_own(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "hunter2")
    assert (await sandbox.exec("pwd")).stdout.decode().strip() == sandbox.workspace
    variables = (await sandbox.exec("env; echo HOME=$HOME; echo X=$X", environment={"X": "y"})).stdout
    assert b"hunter2" not in variables
    assert b"X=y" in variables
    await sandbox.write("deep/er/file", b"")
    assert (await sandbox.exec("ls", directory="deep/er")).stdout == b"file\n"
    with pytest.raises(SandboxFileError, match="nowhere"):
        await sandbox.exec("ls", directory="nowhere")


async def test_python_is_in_every_sandbox(sandbox: Sandbox) -> None:
    done = await sandbox.exec(["python3", "-c", "import sys, json, ssl; print(sys.version_info[:2])"])
    assert done.exit_code == 0, done.stderr
    if sandbox.workspace != "/workspace":
        assert done.stdout.decode().strip() == str(sys.version_info[:2])


async def test_a_background_process_holds_nothing_up_and_goes_on(sandbox: Sandbox) -> None:
    done = await sandbox.exec("(while :; do sleep 0.02; echo x | tee -a beat; done) & echo on", timeout=60)
    assert not done.timed_out
    assert b"on" in done.stdout.split()
    count = "wc -l < beat"
    first = int((await sandbox.exec("until [ -s beat ]; do sleep 0.01; done; " + count, timeout=60)).stdout)
    later = f"until [ $({count}) -gt {first} ]; do sleep 0.01; done; echo more"
    assert (await sandbox.exec(later, timeout=60)).stdout == b"more\n"


async def test_many_commands_run_at_once(sandbox: Sandbox) -> None:
    results = await asyncio.gather(*(sandbox.exec(f"sleep 0.1; echo {n}") for n in range(20)))
    assert [int(one.stdout) for one in results] == list(range(20))


async def test_a_process_is_talked_to(sandbox: Sandbox) -> None:
    process = await sandbox.start(["bash"])
    await process.write(b"X=1; echo a\n")
    assert await process.read() == b"a\n"
    await process.write(b"echo b$X >&2; exit 4\n")
    assert await process.read() == b"b1\n"
    assert await process.read() == b""
    assert await process.wait() == 4
    with pytest.raises(SandboxError, match="ended"):
        await process.write(b"echo\n")


async def test_a_process_whose_output_nobody_reads_waits(sandbox: Sandbox) -> None:
    process = await sandbox.start(["bash", "-c", "head -c 5000000 /dev/zero; touch done; exit 5"])
    assert (await sandbox.exec("sleep 0.2; ls")).stdout == b""  # a window is under way, and no more
    total = 0
    while piece := await process.read():
        total += len(piece)
    assert total == 5_000_000
    assert await process.wait() == 5


async def test_the_children_of_a_process_are_killed_and_it_is_spared(sandbox: Sandbox) -> None:
    process = await sandbox.start(["bash"])
    await process.write(b"sleep 100 & (setsid sleep 200 &); echo ready; wait; echo waited; read x; echo $x\n")
    assert await process.read() == b"ready\n"
    await process.kill(children_only=True)
    output = b""
    while b"waited" not in output:
        output += await process.read()
    assert await _running(sandbox, "sleep [12]00") == 0
    await process.write(b"hello\n")
    assert b"hello" in await process.read()
    await process.kill()
    assert await process.wait() == 137
    assert await process.read() == b""


async def test_only_what_was_started_lately_is_killed(sandbox: Sandbox) -> None:
    process = await sandbox.start(["bash"])
    await process.write(b"(setsid sleep 301 &); echo old\n")
    assert await process.read() == b"old\n"
    seen = time.monotonic()
    await asyncio.sleep(0.2)  # longer than the clock of the process table ticks
    await process.write(b"(setsid sleep 302 &); echo new\n")
    assert await process.read() == b"new\n"
    await process.kill(children_only=True, started_after=time.monotonic() - seen - 0.05)
    assert await _running(sandbox, "sleep 302") == 0
    assert await _running(sandbox, "(setsid )?sleep 301") == 1


async def test_a_kill_that_comes_late_means_the_moment_that_was_asked_for(sandbox: Sandbox) -> None:
    process = await sandbox.start(["bash"])
    begun = time.monotonic()
    await process.write(b"(setsid sleep 303 &); echo begun\n")
    assert await process.read() == b"begun\n"
    with stopped(sandbox):
        killing = asyncio.ensure_future(
            process.kill(children_only=True, started_after=time.monotonic() - begun + 0.05)
        )
        await asyncio.sleep(0.5)  # which is more than the process is old
    await killing
    assert await _running(sandbox, "(setsid )?sleep 303") == 0


@contextlib.contextmanager
def stopped(sandbox: Sandbox) -> Iterator[None]:
    """The sandbox's agent does nothing meanwhile."""
    agents = [pid for pid, marker in marked_processes() if marker.name == sandbox.id]
    for pid in agents:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in agents:
        os.kill(pid, signal.SIGCONT)


async def _running(sandbox: Sandbox, pattern: str) -> int:
    folder = sandbox.workspace  # in the local backend, only this sandbox's processes are meant
    ours = f"[ $(readlink /proc/$p/cwd) = {folder} ]"
    command = f"for p in $(pgrep -f '^{pattern}$'); do {ours} && echo; done | wc -l"
    return int((await sandbox.exec(command)).stdout)


async def test_what_a_caller_gets_wrong_is_told_in_words_and_costs_nothing(any_sandbox: Sandbox) -> None:
    wrong: list[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...], dict[str, Any], str]] = [
        (any_sandbox.write, ("file", "text"), {}, r"data must be bytes, not str; .*text.encode\(\)"),
        (any_sandbox.exec, ("cat",), {"stdin": "text"}, r"stdin must be bytes, not str; .*text.encode\(\)"),
        (any_sandbox.exec, (b"true",), {}, "a command must be a string or a list of strings, not b'true'"),
        (any_sandbox.exec, (["echo", 1],), {}, "a command must be a string or a list of strings"),
        (any_sandbox.exec, ([],), {}, "a command must not be empty"),
        (
            any_sandbox.exec,
            ("true",),
            {"timeout": "5"},
            "timeout must be a number of seconds or None, not '5'",
        ),
        (any_sandbox.exec, ("true",), {"timeout": math.nan}, "timeout must be a number of seconds or None"),
        (any_sandbox.start, ("sleep 1",), {}, "a process needs a list of words, such as"),
        (any_sandbox.restore, ("text",), {}, "snapshot must be bytes, not str"),
    ]
    for method, arguments, options, told in wrong:
        with pytest.raises((TypeError, ValueError), match=told):
            await method(*arguments, **options)
    assert (await any_sandbox.exec("echo on")).stdout == b"on\n"
