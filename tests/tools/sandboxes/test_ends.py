"""Every end takes all with it: a deadline, a cancelled caller, a close, a loss, a worker that was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sandbox_traces import NOTHING, OurOwn, left_on_host

from rollway.errors import UserError
from rollway.tools.sandboxes import (
    Sandbox,
    SandboxError,
    SandboxSpec,
    bubblewrap,
    check_backend,
    open_sandbox,
)
from rollway.tools.sandboxes.agent.system import descendants
from rollway.tools.sandboxes.orphans import (
    base_folder,
    is_dead,
    marked_processes,
    owner_name,
    reap_orphans,
)

Opener = Callable[..., Awaitable[Sandbox]]
Becomes = Callable[[Callable[[], bool]], Awaitable[None]]
SOON = 60.0  # seconds: a loaded machine takes its time, and what hung would take a thousand
DAEMON = "(setsid sh -c 'sleep 1000 & exec sleep 1000' &) ; trap '' TERM INT HUP; sleep 1000 & sleep 1000"

WORKER = """
import asyncio, sys
from rollway.tools.sandboxes import SandboxSpec, open_sandbox
from rollway.tools.sandboxes.orphans import owner_name

async def main():
    for backend in sys.argv[1:]:
        sandbox = await open_sandbox(SandboxSpec(backend=backend))
        await sandbox.start(["bash", "-c", "(setsid sleep 1000 &) ; sleep 1000"])
        await sandbox.write("file", b"x")
    print(owner_name(), flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def start_worker(*backends: str) -> tuple[subprocess.Popen[str], str]:
    """A process with sandboxes of its own, and its name as an owner."""
    worker = subprocess.Popen([sys.executable, "-c", WORKER, *backends], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    with worker.stdout:
        return worker, worker.stdout.readline().strip()


def sleepers(sandbox: Sandbox) -> int:
    """Processes of a sandbox that sleep, as the host sees them; one that has ended does not."""
    marked = [pid for pid, marker in marked_processes() if marker.name == sandbox.id]
    below = [one for root in marked for one in descendants(root) if one.parent == root and not one.ended]
    return sum(name_of(one.pid) == "sleep" for one in below)


def name_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


async def test_a_deadline_kills_the_whole_tree(sandbox: Sandbox) -> None:
    started = time.monotonic()
    done = await sandbox.exec("echo before; " + DAEMON, timeout=1.0)
    assert time.monotonic() - started < SOON
    assert done.timed_out
    assert done.exit_code == 137
    assert done.stdout == b"before\n"
    assert sleepers(sandbox) == 0


async def test_a_cancelled_caller_takes_the_command_with_it(sandbox: Sandbox, becomes: Becomes) -> None:
    command = asyncio.ensure_future(sandbox.exec(DAEMON))
    await becomes(lambda: sleepers(sandbox) > 0)
    command.cancel()
    with pytest.raises(asyncio.CancelledError):
        await command
    await becomes(lambda: sleepers(sandbox) == 0)
    assert (await sandbox.exec("echo on")).stdout == b"on\n"


async def test_closing_ends_all_and_fails_what_waits(sandbox: Sandbox) -> None:
    process = await sandbox.start(["bash", "-c", DAEMON])
    waiting = asyncio.ensure_future(sandbox.exec("sleep 1000"))
    reading = asyncio.ensure_future(process.read())
    await sandbox.exec("true")
    await asyncio.gather(sandbox.close(), sandbox.close())
    for call in (waiting, reading, process.wait(), process.kill(), process.write(b"x"), sandbox.read("x")):
        with pytest.raises(SandboxError, match="closed"):
            await call
    assert left_on_host(owner_name()) == NOTHING


async def test_a_lost_sandbox_fails_every_call_at_once(sandbox: Sandbox) -> None:
    waiting = asyncio.ensure_future(sandbox.exec("sleep 1000"))
    await sandbox.exec("true")
    for pid, marker in marked_processes():
        if marker.name == sandbox.id:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    started = time.monotonic()
    with pytest.raises(SandboxError, match="gone"):
        await waiting
    with pytest.raises(SandboxError, match="gone"):
        await sandbox.read("x")
    await sandbox.close()
    assert time.monotonic() - started < SOON
    assert left_on_host(owner_name()) == NOTHING


async def test_an_agent_that_does_not_answer_is_given_up(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollway.tools.sandboxes.agent_sandbox.GRACE", 0.2)
    monkeypatch.setattr("rollway.tools.sandboxes.launching.END_TIMEOUT", 2.0)
    for pid, marker in marked_processes():
        if marker.name == sandbox.id:
            os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SandboxError, match="did not answer within"):
        await sandbox.exec("sleep 1000", timeout=0.1)
    await sandbox.close()
    assert left_on_host(owner_name()) == NOTHING


@pytest.mark.parametrize("backend", ["local", "bubblewrap"])
async def test_a_killed_worker_leaves_nothing(
    backend: str, request: pytest.FixtureRequest, becomes: Becomes
) -> None:
    if backend == "bubblewrap":
        request.getfixturevalue("bubblewrap")
    worker, owner = await asyncio.to_thread(start_worker, backend)
    try:
        reap_orphans()  # of a live owner nothing is touched
        assert left_on_host(owner)["processes"] != []
    finally:
        worker.kill()
        worker.wait()
    await becomes(lambda: left_on_host(owner)["processes"] == [])
    assert is_dead(owner)
    reap_orphans()  # an empty folder, a cgroup
    assert left_on_host(owner) == NOTHING


async def test_what_a_dead_owner_left_is_ended_by_the_next_start(bubblewrap: None, becomes: Becomes) -> None:
    """Even an agent that does not see its socket close, because it is stopped."""
    worker, owner = await asyncio.to_thread(start_worker, "local", "bubblewrap")
    for pid, marker in marked_processes():
        if marker.parent.name == owner:
            os.kill(pid, signal.SIGSTOP)
    worker.kill()
    worker.wait()
    assert left_on_host(owner)["processes"] != []
    reap_orphans()
    await becomes(lambda: left_on_host(owner)["processes"] == [])
    reap_orphans()
    assert left_on_host(owner) == NOTHING


def test_only_an_owner_of_ours_that_is_gone_is_dead() -> None:
    namespace, pid, started = owner_name().split("-")
    assert not is_dead(owner_name())
    assert is_dead(f"{namespace}-{pid}-{int(started) + 1}")
    assert not is_dead(f"{int(namespace) + 1}-{pid}-{int(started) + 1}")
    assert not is_dead("something-else")
    assert not is_dead("lost+found")


async def test_a_sandbox_costs_no_thread_and_leaves_no_descriptor(sandbox: Sandbox, opened: Opener) -> None:
    backend = "local" if sandbox.workspace != "/workspace" else "bubblewrap"
    ours = OurOwn()
    several = await asyncio.gather(*(opened(backend) for _ in range(6)))
    assert len(ours.descriptors()) <= 6
    await asyncio.gather(*(one.exec("true") for one in several))
    assert len(ours.threads()) <= 6  # the event loop's own executor
    await asyncio.gather(*(one.close() for one in several))
    assert ours.descriptors() == []


@pytest.mark.parametrize("backend", ["local", "bubblewrap"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 20])
async def test_a_cancelled_start_leaves_nothing(
    backend: str, steps: int, request: pytest.FixtureRequest
) -> None:
    if backend == "bubblewrap":
        request.getfixturevalue("bubblewrap")
    await (await open_sandbox(SandboxSpec(backend=backend))).close()  # type: ignore[arg-type]
    ours = OurOwn()
    opening = asyncio.ensure_future(open_sandbox(SandboxSpec(backend=backend)))  # type: ignore[arg-type]
    for _ in range(steps):
        await asyncio.sleep(0.002)
    opening.cancel()
    try:
        await (await opening).close()
    except asyncio.CancelledError:
        pass
    assert left_on_host(owner_name()) == NOTHING
    assert ours.descriptors() == []


async def test_a_start_that_fails_says_why_and_leaves_nothing(
    bubblewrap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollway.tools.sandboxes.bubblewrap_view.WORKSPACE", "/proc/none/workspace")
    await asyncio.to_thread(base_folder)
    ours = OurOwn()
    with pytest.raises(SandboxError, match=r"did not start: bwrap: .*/proc/none"):
        await open_sandbox(SandboxSpec())
    assert ours.descriptors() == []
    assert left_on_host(owner_name()) == NOTHING


def test_without_bubblewrap_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"^[^\n]*`apt-get install bubblewrap`[^\n]*the local backend$"):
        check_backend(SandboxSpec())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("No permissions to create new namespace", "namespaces are not permitted (bwrap: No permissions"),
        ("setting up uid map: Permission denied", "namespaces are not permitted (bwrap: setting up uid map"),
        ("Can't find\nsource path", "no sandbox can start (bwrap: Can't find source path)"),
    ],
)
def test_where_bubblewrap_does_not_start_one_line_says_why(
    fault: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(f'#!/bin/sh\necho "bwrap: {fault}" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: str(fake))
    with pytest.raises(UserError) as raised:
        check_backend(SandboxSpec())
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("or use the local backend")


def test_a_spec_that_its_backend_cannot_serve_is_refused_in_one_line() -> None:
    for fields in ({"backend": "local", "image": "x"}, {"backend": "docker"}, {"image": "x"}):
        with pytest.raises(UserError, match=r"sandbox\.image"):
            check_backend(SandboxSpec(**fields))  # type: ignore[arg-type]
