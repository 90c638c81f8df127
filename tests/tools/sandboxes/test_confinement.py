"""Nothing gets out of a bubblewrap sandbox: files, variables, processes, network, privileges."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rollway.tools.sandboxes import Mount, Sandbox, SandboxSpec, bubblewrap_view, open_sandbox, seccomp

PTRACE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for pid in map(int, sys.argv[1:]):
    print(libc.ptrace(16, pid, 0, 0))
"""


async def test_the_home_folder_and_our_files_are_not_there(cell: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    home, here = Path.home(), Path(__file__).parents[3]
    for path in (tmp_path / "secret", home / ".bashrc", home / ".ssh", here / "pyproject.toml"):
        assert (await cell.exec(["test", "-e", str(path)])).exit_code == 1, path
    found = (await cell.exec("ls /; ls -A /home /root 2>/dev/null; cat /etc/shadow", timeout=30)).stdout
    assert b"hunter2" not in found
    names = set(found.decode().split())
    assert names.isdisjoint({"boot", "mnt", "srv", "media", "sys", "run", "opt"})
    assert (await cell.exec("cat /etc/shadow /etc/gshadow /etc/sudoers")).exit_code == 1
    assert (await cell.exec("cat /etc/hostname; hostname")).stdout == b"sandbox\n"


async def test_our_package_is_hidden_where_the_systems_folders_hold_it(
    bubblewrap: None, opened: Callable[[], Awaitable[Sandbox]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap_view, "OWN", Path("/usr/share/doc"))
    sandbox = await opened()
    listed = await sandbox.exec("ls -A /usr/share/doc; touch /usr/share/doc/x")
    assert (listed.stdout, listed.exit_code) == (b"", 1)
    assert (await sandbox.exec("ls /usr/share")).stdout.count(b"\n") > 1


async def test_what_a_spec_hides_is_out_of_sight_and_the_rest_is_not(
    bubblewrap: None,
) -> None:
    # As a data file beside Python's packages, which a policy is to be held to, and must not read.
    hidden = ["/usr/share/doc", "/usr/bin/env", "/usr/share/nowhere", "/etc/hostname"]
    sandbox = await open_sandbox(SandboxSpec(hidden=hidden))
    found = await sandbox.exec("ls -A /usr/share/doc; cat /usr/bin/env | head -c 4; ls /usr/share | wc -l")
    await sandbox.close()
    assert int(found.stdout) > 1


async def test_no_environment_of_ours_can_be_read(cell: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "hunter2")
    started = os.environ.get("PATH", "")
    done = await cell.exec("cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; env")
    assert b"hunter2" not in done.stdout
    assert b"ROLLWAY_SANDBOX" not in done.stdout
    assert not started or started.encode() not in done.stdout


async def test_our_processes_are_not_to_be_seen(cell: Sandbox) -> None:
    seen = (await cell.exec("ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm")).stdout.split()
    assert int(seen[0]) < 8
    assert seen[1].startswith(b"python")


async def test_no_listener_of_the_host_is_reached(cell: Sandbox) -> None:
    connected = asyncio.Event()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    abstract = await asyncio.start_unix_server(on_connection, f"\0rollway-test-{os.getpid()}")
    port = server.sockets[0].getsockname()[1]
    async with server, abstract:
        done = await cell.exec(f"echo > /dev/tcp/127.0.0.1/{port}", timeout=30)
        assert done.exit_code == 1
        connect = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); "
            f"s.connect('\\0rollway-test-{os.getpid()}'); print('in')"
        )
        assert b"in\n" not in (await cell.exec(["python3", "-c", connect], timeout=30)).stdout
        done = await cell.exec("echo > /dev/tcp/1.1.1.1/53", timeout=30)
        assert done.exit_code == 1
        assert not done.timed_out
    assert not connected.is_set()


async def test_with_network_the_host_is_reached(bubblewrap: None, opened) -> None:  # type: ignore[no-untyped-def]
    cell = await opened(network=True)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await cell.exec(f"echo > /dev/tcp/127.0.0.1/{port}", timeout=30)).exit_code == 0


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/zz",
        "/etc/passwd",
        "/etc/zz",
        "/bin/zz",
        "/zz",
        "/proc/sys/kernel/hostname",
        "/dev/zz",
        "/var/zz",
    ],
)
async def test_the_system_cannot_be_written_to(cell: Sandbox, path: str) -> None:
    done = await cell.exec(f"echo x > {path}; echo x >> {path}; rm -rf {path}; mount -o remount,rw /usr")
    assert done.exit_code != 0
    assert (await cell.exec("id -un")).stdout == b"sandbox\n"


async def test_it_is_an_unprivileged_user_of_its_own(cell: Sandbox, opened) -> None:  # type: ignore[no-untyped-def]
    status = (await cell.exec("cat /proc/self/status")).stdout.decode()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    user = int((await cell.exec("id -u")).stdout)
    assert user != 0
    if os.getuid() == 0:  # else it is us to the host, and a number of its own inside
        assert int((await (await opened()).exec("id -u")).stdout) != user
    done = await cell.exec(
        "mount -t tmpfs x /tmp; chroot / true; mknod /tmp/d b 1 1; nsenter -t 1 -m true; su -c id"
    )
    assert b"uid=0" not in done.stdout
    assert done.exit_code != 0
    assert (await cell.exec("test -t 0 || test -e /dev/tty && echo > /dev/tty")).exit_code != 0


async def test_the_agent_cannot_be_killed_stopped_traced_or_read(cell: Sandbox) -> None:
    attack = (
        "kill -9 1; kill -STOP 1; kill -TERM 1; kill -9 -- -1; cat /proc/1/mem /proc/1/environ; ls /proc/1/fd"
    )
    await cell.exec(attack, timeout=30)
    done = await cell.exec(["bash", "-c", f"python3 -c '{PTRACE}' 1 $PPID; ls /proc/1/fd /proc/$PPID/fd"])
    assert done.stdout.split()[:2] == [b"-1", b"-1"]
    assert (await cell.exec("echo on", timeout=30)).stdout == b"on\n"


async def test_killing_everything_kills_the_command_and_not_the_sandbox(cell: Sandbox) -> None:
    other = asyncio.ensure_future(cell.exec("sleep 1000", timeout=60))
    assert (await cell.exec("until pgrep sleep; do :; done", timeout=60)).exit_code == 0
    for done in (await cell.exec("kill -9 -1; while :; do :; done", timeout=60), await other):
        assert done.exit_code == 137
        assert not done.timed_out
    assert (await cell.exec("echo on; ls -d /proc/[0-9]* | wc -l", timeout=30)).stdout.split()[0] == b"on"


async def test_a_stopped_supervisor_holds_no_deadline_up(cell: Sandbox) -> None:
    started = time.monotonic()
    done = await cell.exec("kill -STOP $PPID; (setsid sleep 1000 &); sleep 1000", timeout=0.5)
    assert done.timed_out
    assert time.monotonic() - started < 60
    assert (await cell.exec("pgrep -r R,S,D,T,t sleep", timeout=30)).exit_code == 1


async def test_a_killed_supervisor_leaves_no_stray(cell: Sandbox) -> None:
    done = await cell.exec("(setsid sleep 1000 &); kill -9 $PPID; sleep 1000", timeout=60)
    assert done.exit_code == 137
    assert not done.timed_out
    assert (await cell.exec("pgrep -r R,S,D,T,t sleep", timeout=30)).exit_code == 1


async def test_no_namespace_can_be_made_in_it(cell: Sandbox) -> None:
    if seccomp.program() is None:
        pytest.skip("no filter for the system calls of this machine")
    for command in (
        "unshare -U true",
        "unshare -Ur true",
        "unshare -r -m mount -t tmpfs x /tmp",
        "keyctl show",
    ):
        assert (await cell.exec(command)).exit_code != 0, command
    clone = "import ctypes; print(ctypes.CDLL(None, use_errno=True).syscall(%d, 0x10000000 | 17, 0, 0, 0, 0))"
    number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
    assert (await cell.exec(["python3", "-c", clone % number])).stdout == b"-1\n"
    threads = "import threading; t = threading.Thread(target=print, args=('ran',)); t.start(); t.join()"
    assert (await cell.exec(["python3", "-c", threads])).stdout == b"ran\n"


async def test_a_mount_is_seen_and_read_only_unless_it_says_otherwise(
    bubblewrap: None, tmp_path: Path
) -> None:
    (tmp_path / "read").mkdir()
    (tmp_path / "read" / "file").write_text("data")
    (tmp_path / "write").mkdir()
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "write", 0o777)
    mounts = [
        Mount(str(tmp_path / "read"), "/workspace/in"),
        Mount(str(tmp_path / "write"), "/data/out", writable=True),
        Mount(str(tmp_path / "read"), "/tmp/a/b/in"),
        Mount(str(tmp_path / "read"), "/workspace/far/down/in"),
    ]
    sandbox = await open_sandbox(SandboxSpec(mounts=mounts))
    try:
        done = await sandbox.exec("cat in/file; echo x > in/file; echo y > /data/out/new")
        assert done.stdout == b"data"
        done = await sandbox.exec("cat /tmp/a/b/in/file far/down/in/file")
        assert (done.stdout, done.stderr) == (b"datadata", b"")
    finally:
        await sandbox.close()
    assert (tmp_path / "read" / "file").read_text() == "data"
    assert (tmp_path / "write" / "new").read_text() == "y\n"
