"""Containers, in real ones: podman runs each command of these tests in an image made for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from container_image import PLAIN, WITH_BASH
from sandbox_traces import OurOwn

from rollway.errors import UserError
from rollway.tools.sandboxes import (
    Mount,
    Sandbox,
    SandboxError,
    SandboxFileError,
    SandboxLimits,
    SandboxSpec,
)
from rollway.tools.sandboxes.container_engine import ask_engine, check_container_backend
from rollway.tools.sandboxes.container_orphans import is_dead, owner_of_this_process, reap_containers
from rollway.tools.sandboxes.container_process import ContainerProcess
from rollway.tools.sandboxes.containers import open_container

MIB = 1 << 20


def spec(image: str = PLAIN, **fields: object) -> SandboxSpec:
    limits = SandboxLimits(memory=128 * MIB, disk=4 * MIB, file_size=2 * MIB, output=8 * MIB, processes=40)
    return SandboxSpec(**{"backend": "podman", "image": image, "limits": limits, **fields})  # type: ignore[arg-type]


@pytest.fixture
async def sandbox(engine: None) -> AsyncIterator[Sandbox]:
    sandbox = await open_container(spec())
    yield sandbox
    await sandbox.close()


def podman(*arguments: str) -> str:
    return subprocess.run(["podman", *arguments], capture_output=True, check=True, text=True).stdout


def containers() -> list[str]:
    return podman("ps", "-a", "--format", "{{.Names}}").split()


async def programs(sandbox: Sandbox, beginning: str) -> int:
    """How many processes of the sandbox have a command line that begins so."""
    done = await sandbox.exec(["ps", "-o", "args"])
    assert done.exit_code == 0
    return sum(line.startswith(beginning) for line in done.stdout.decode().splitlines())


FILL = "while :; do sleep 7005 & done"  # ends when nothing more can be started, and leaves the others
ENTERING = 2  # processes that an engine brings in from outside, which the kernel counts and does not refuse


def processes_of(sandbox: Sandbox) -> Callable[[], list[str]]:
    """Gives the command lines that run in a sandbox, but for what keeps it there, as the host sees them: it
    takes no process in there to look."""
    first = podman("inspect", "--format", "{{.State.Pid}}", f"rollway-{sandbox.id}").strip()
    space = os.readlink(f"/proc/{first}/ns/pid")

    def command_line(process: Path) -> str | None:
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(") ")[2]
            if process.name != first and state[0] not in "ZX" and os.readlink(process / "ns/pid") == space:
                return (process / "cmdline").read_text().replace("\0", " ").strip()
        return None

    def look() -> list[str]:
        lines = [command_line(process) for process in Path("/proc").glob("[0-9]*")]
        return [line for line in lines if line not in (None, "sleep 2147483647")]

    return look


async def none_left(sandbox: Sandbox, word: str) -> bool:
    deadline = time.monotonic() + 60
    while await programs(sandbox, word):
        if time.monotonic() > deadline:
            return False
    return True


async def test_a_command_gives_its_outputs_and_exit_code(sandbox: Sandbox) -> None:
    done = await sandbox.exec("cat; echo \"$NAME\"; pwd; echo no >&2; exit 3", stdin=b"a\0b\n",
                              environment={"NAME": "two\nlines"})  # fmt: skip
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"a\0b\ntwo\nlines\n/workspace\n", b"no\n")
    assert (await sandbox.exec(["echo", "$HOME; a  b"])).stdout == b"$HOME; a  b\n"
    assert (await sandbox.exec("kill -9 $$")).exit_code == 137
    assert (await sandbox.exec(["exit", "3"])).exit_code == 127  # no word of the shell's


async def test_a_command_that_ignores_its_input_loses_no_output(sandbox: Sandbox) -> None:
    for _ in range(6):
        done = await sandbox.exec("echo kept; exit 9", stdin=b"x" * 100_000)
        assert (done.exit_code, done.stdout) == (9, b"kept\n")


async def test_bash_is_used_where_it_is_there(engine: None, sandbox: Sandbox) -> None:
    assert (await sandbox.exec("echo ${BASH_VERSION:-none}")).stdout == b"none\n"
    with_bash = await open_container(spec(WITH_BASH))
    try:
        assert (await with_bash.exec("a=(1 2); echo ${#a[@]}")).stdout == b"2\n"
    finally:
        await with_bash.close()


async def test_a_folder_to_start_in_that_is_missing_is_refused(sandbox: Sandbox) -> None:
    await sandbox.exec("mkdir sub")
    assert (await sandbox.exec("pwd", directory="sub")).stdout == b"/workspace/sub\n"
    with pytest.raises(SandboxFileError, match="nowhere: no such folder"):
        await sandbox.exec("pwd", directory="nowhere")


DAEMON = "(env -i setsid sh -c 'sleep 7001 & env -i sleep 7002' &)"


async def test_a_deadline_ends_a_command_with_its_daemons_and_nothing_else(sandbox: Sandbox) -> None:
    await sandbox.exec("sleep 7100 > /dev/null 2>&1 &")
    command = f"{DAEMON}; sleep 7003 & echo begun; touch begun; sleep 7004"
    for timeout in (3.0, 30.0, 90.0):  # which leaves a slow engine the time to come in
        done = await sandbox.exec(command, timeout=timeout)
        if (await sandbox.exec("test -e begun")).exit_code == 0:
            break
    assert done.timed_out
    assert done.exit_code == 137
    assert done.stdout == b"begun\n"
    assert await programs(sandbox, "sleep 700") == 0
    assert await programs(sandbox, "sleep 7100") == 1


async def test_a_cancelled_caller_takes_the_command_with_it(sandbox: Sandbox) -> None:
    running = asyncio.ensure_future(sandbox.exec(f"touch begun; {DAEMON}; sleep 7003"))
    while (await sandbox.exec("test -e begun")).exit_code:
        pass
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await programs(sandbox, "sleep 700") == 0


# At its deadline, or before because its own shell can start nothing more: how a bomb ends is luck.
@pytest.mark.parametrize("bomb", ["b() { b | b & }; b; sleep 7005", f"({FILL}) & while :; do :; done"])
async def test_a_fork_bomb_is_held_and_nothing_is_left_of_it(sandbox: Sandbox, bomb: str) -> None:
    processes, most = processes_of(sandbox), 0
    running = asyncio.ensure_future(sandbox.exec(bomb, timeout=1.0))
    while not running.done():
        most = max(most, len(processes()))
        await asyncio.sleep(0.01)
    done = await running
    assert most <= 40 + ENTERING
    assert done.timed_out or done.exit_code != 0
    if not done.timed_out:
        await sandbox.kill_all()  # until then goes on what a command that ended by itself has left
    assert processes() == []
    assert (await sandbox.exec("echo alive")).stdout == b"alive\n"


async def test_where_a_command_has_left_no_room_all_of_it_can_be_ended(sandbox: Sandbox) -> None:
    processes = processes_of(sandbox)
    assert (await sandbox.exec(FILL, timeout=60)).exit_code != 0
    assert 30 < len(processes()) <= 40
    await sandbox.kill_all()
    assert processes() == []
    assert (await sandbox.exec("echo alive")).stdout == b"alive\n"


async def test_a_command_that_kills_all_does_not_end_the_sandbox(sandbox: Sandbox) -> None:
    await sandbox.exec("kill -9 -1", timeout=60)
    assert (await sandbox.exec("echo alive")).stdout == b"alive\n"
    assert (await sandbox.exec("sleep 7006", timeout=0.5)).timed_out


async def test_the_memory_of_all_together_is_bounded(sandbox: Sandbox) -> None:
    done = await sandbox.exec("head -c 400000000 /dev/zero | tail -c 300000000 | wc -c", timeout=60)
    assert done.stdout != b"300000000\n"
    assert (await sandbox.exec("echo alive")).stdout == b"alive\n"


async def test_long_output_keeps_both_ends_and_endless_output_is_ended(sandbox: Sandbox) -> None:
    done = await sandbox.exec("echo first; seq 20000; echo last", max_output=100)
    assert done.stdout.startswith(b"first\n1\n")
    assert done.stdout.endswith(b"20000\nlast\n")
    assert len(done.stdout) == 100
    assert done.stdout_cut == len(b"first\nlast\n") + sum(len(f"{i}\n") for i in range(1, 20001)) - 100
    endless = await sandbox.exec("yes", timeout=60)
    assert endless.output_exceeded
    assert not endless.timed_out
    assert await none_left(sandbox, "yes")


async def test_no_network_and_no_rights(sandbox: Sandbox) -> None:
    assert (await sandbox.exec("ls /sys/class/net")).stdout == b"lo\n"
    rights = await sandbox.exec("grep -E 'CapBnd|NoNewPrivs' /proc/self/status")
    assert rights.stdout.split() == [b"CapBnd:", b"0000000000000000", b"NoNewPrivs:", b"1"]
    own = await sandbox.exec("env")
    assert b"CONTAINERS_CONF" not in own.stdout


async def test_a_process_goes_on_and_is_talked_to(sandbox: Sandbox) -> None:
    process = await sandbox.start(["sh", "-c", "while read line; do echo got $line; done; exit 4"])
    await process.write(b"one\n")
    assert await process.read() == b"got one\n"
    await process.write(b"two\n")
    assert await process.read() == b"got two\n"
    await process.kill()
    assert await process.read() == b""
    assert await process.wait() == 137
    with pytest.raises(SandboxError, match="ended"):
        await process.write(b"more\n")


async def test_a_process_that_ends_by_itself_is_read_to_the_end(sandbox: Sandbox) -> None:
    for _ in range(4):
        process = await sandbox.start(["sh", "-c", "echo out; echo err >&2; exit 5"])
        assert await process.wait() == 5
        data = b""
        while piece := await process.read():
            data += piece
        assert data == b"out\nerr\n"


async def test_a_processs_children_can_be_ended_without_it(sandbox: Sandbox) -> None:
    program = 'sleep 7007 & while read line; do eval "$line"; done'
    process = await sandbox.start(["sh", "-c", program])
    await process.write(f"{DAEMON}; echo begun\n".encode())
    assert await process.read() == b"begun\n"
    await process.kill(children_only=True)
    assert await programs(sandbox, "sleep 700") == 0
    await process.write(b"echo alive\n")
    assert await process.read() == b"alive\n"


async def test_only_the_young_are_ended_however_long_the_engine_takes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(words: list[str]) -> str:
        await asyncio.sleep(0.5)
        return await ask_engine(words)

    process = await sandbox.start(["sh", "-c", 'while read line; do eval "$line"; done'])
    await process.write(b"sleep 7008 & echo begun\n")
    await process.read()
    seen = time.monotonic()
    await asyncio.sleep(0.2)  # longer than the clock of the process table ticks
    await process.write(b"sleep 7009 & echo begun\n")
    await process.read()
    monkeypatch.setattr("rollway.tools.sandboxes.containers.ask_engine", late)
    await process.kill(children_only=True, started_after=time.monotonic() - seen - 0.05)
    assert await programs(sandbox, "sleep 7008") == 1
    assert await programs(sandbox, "sleep 7009") == 0
    await sandbox.kill_all()
    assert await programs(sandbox, "sleep 7008") == 0
    assert await process.wait() == 137


async def test_files_are_written_and_read(sandbox: Sandbox) -> None:
    data = bytes(range(256)) * 100
    await sandbox.write("deep/er/file", data)
    assert await sandbox.read("/workspace/deep/er/file") == data
    assert await sandbox.read("deep/er/file", max_bytes=3) == data[:3]
    await sandbox.write("run", b"#!/bin/sh\necho ran\n", executable=True)
    assert (await sandbox.exec(["./run"])).stdout == b"ran\n"
    await sandbox.write("-n", b"dash")
    assert await sandbox.read("-n") == b"dash"
    await sandbox.write("empty", b"")
    assert await sandbox.read("empty") == b""


async def test_a_write_that_reaches_a_limit_leaves_the_file_as_it_was(sandbox: Sandbox) -> None:
    await sandbox.write("-kept", b"as it was", executable=True)
    with pytest.raises(SandboxFileError, match="File too large"):
        await sandbox.write("-kept", b"x" * (3 * MIB))
    assert await sandbox.read("-kept") == b"as it was"
    await sandbox.write("-kept", b"new")
    assert (await sandbox.exec("test -x ./-kept && cat ./-kept && ls -A")).stdout == b"new-kept\n"


async def test_a_path_out_of_the_workspace_is_refused(sandbox: Sandbox) -> None:
    await sandbox.exec("mkdir deep; ln -s /etc away; ln -s /etc/hostname hidden; ln -s loop loop")
    for path in ("../out", "/etc/passwd", "away/file", "hidden", "deep/../../x", "loop", "a\0b"):
        for attempt in (sandbox.read(path), sandbox.write(path, b"x")):
            with pytest.raises(SandboxFileError):
                await attempt


async def test_what_is_no_file_is_refused(sandbox: Sandbox) -> None:
    await sandbox.exec("mkdir folder; mkfifo pipe; touch file; ln -s file link")
    for path, message in {"folder": "folder", "pipe": "regular", "none": "no such", "file/x": "file"}.items():
        with pytest.raises(SandboxFileError, match=message):
            await sandbox.read(path)
    assert await sandbox.read("link") == b""
    with pytest.raises(SandboxFileError):
        await sandbox.write("large", bytes(3 * MIB))  # over the limit of one file
    await sandbox.write("one", bytes(2 * MIB))
    await sandbox.write("half", bytes(MIB))
    with pytest.raises(SandboxFileError, match="space"):
        await sandbox.write("two", bytes(2 * MIB))


async def test_a_folder_of_the_host_is_seen_and_not_written(engine: None, tmp_path: Path) -> None:
    folder = tmp_path / "with, a comma"
    folder.mkdir()
    (folder / "file").write_text("shown")
    sandbox = await open_container(spec(mounts=[Mount(str(folder), "/data")], environment={"SET": "yes"}))
    try:
        done = await sandbox.exec("cat /data/file; echo $SET; touch /data/new")
        assert done.stdout == b"shownyes\n"
        assert b"Read-only" in done.stderr
    finally:
        await sandbox.close()


async def test_a_closed_sandbox_leaves_nothing(engine: None) -> None:
    ours = OurOwn()
    sandbox = await open_container(spec())
    process = await sandbox.start(["sleep", "7010"])
    running = asyncio.ensure_future(sandbox.exec("sleep 7011"))
    await sandbox.exec("true")
    await sandbox.close()
    await sandbox.close()
    assert containers() == []
    with pytest.raises(SandboxError, match="closed"):
        await running
    assert await process.wait() == 137
    assert await process.read() == b""
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.exec("true")
    assert ours.threads() == []


async def test_a_start_that_is_cancelled_leaves_nothing(engine: None) -> None:
    for moment in (0.0, 0.03, 0.1):
        starting = asyncio.ensure_future(open_container(spec()))
        await asyncio.sleep(moment)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).close()  # an engine that was as quick as that
    assert containers() == []


async def test_a_container_that_is_gone_is_a_lost_sandbox(sandbox: Sandbox) -> None:
    podman("rm", "-f", "--time", "0", f"rollway-{sandbox.id}")
    with pytest.raises(SandboxError, match=r"is gone: .*no such container"):
        await sandbox.exec("true")
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.read("file")


async def test_only_the_containers_of_dead_workers_are_reaped(engine: None, sandbox: Sandbox) -> None:
    host, pid, _ = owner_of_this_process().split("/")
    orphan, elsewhere = f"{host}/{pid}/1", f"another-host/{pid}/1"  # the number is in use again
    assert is_dead(orphan)
    assert not is_dead(elsewhere)
    assert not is_dead(owner_of_this_process())
    for name, its_owner in (("orphan", orphan), ("elsewhere", elsewhere)):
        labels = ("--label", "rollway.sandbox=x", "--label", f"rollway.owner={its_owner}")
        podman("create", "--name", name, "--network=none", *labels, PLAIN, "true")
    assert await reap_containers("podman") == 1
    assert sorted(containers()) == ["elsewhere", f"rollway-{sandbox.id}"]
    podman("rm", "elsewhere")


async def test_mistakes_are_told_in_one_line_with_the_engines_words(engine: None, tmp_path: Path) -> None:
    check_container_backend(spec())
    with pytest.raises(UserError, match=r"nosuch.*build or pull it"):
        await open_container(spec("nosuch:1"))
    with pytest.raises(SandboxError, match=r"podman run failed: .*nowhere"):
        await open_container(spec(mounts=[Mount("/nowhere", "/data")]))
    assert containers() == []


@pytest.mark.parametrize("how", ["deadline", "cancelled", "start cancelled", "killed", "all killed"])
async def test_a_command_that_is_ended_on_its_way_in_does_not_go_on(
    sandbox: Sandbox, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = '(sleep 1; "$real" "$@"; touch "$0.over") & wait $!'  # as an engine goes on without its client
    write_engine(
        tmp_path / "podman",
        f'real={shutil.which("podman")}; case "$*" in *"sleep 7012"*) {late} ;; *) exec "$real" "$@" ;; esac',
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if how == "deadline":
        assert (await sandbox.exec("sleep 7012", timeout=0.1)).timed_out
    elif how == "killed":
        await (await sandbox.start(["sleep", "7012"])).kill()
    else:
        if how == "start cancelled":
            monkeypatch.setattr(ContainerProcess, "connect", lambda process: asyncio.sleep(1000))
        begin = sandbox.start(["sleep", "7012"]) if how == "start cancelled" else sandbox.exec("sleep 7012")
        running: asyncio.Future[object] = asyncio.ensure_future(begin)
        await asyncio.sleep(0.1)
        if how == "all killed":
            await sandbox.kill_all()
        else:
            running.cancel()
        await asyncio.wait((running,))
    async with asyncio.timeout(20):
        while not (tmp_path / "podman.over").exists():
            await asyncio.sleep(0.01)
    assert await programs(sandbox, "sleep 7012") == 0


def write_engine(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
