"""`kill_all`: nothing that was started goes on, and the sandbox does."""

from __future__ import annotations

from pathlib import Path

from rollway.tools.sandboxes import SandboxSpec, open_sandbox

DAEMON = (
    "(setsid sh -c 'echo $$ > daemon.pid; while :; do sleep 0.01; echo x >> beat; done' &) >/dev/null 2>&1"
)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().split()[2] not in "ZX"


async def test_daemons_and_processes_end_and_files_stay() -> None:
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        process = await sandbox.start(["bash"])
        await sandbox.exec(DAEMON)
        pid = int(
            (await sandbox.exec("until [ -s daemon.pid ]; do :; done; cat daemon.pid", timeout=10)).stdout
        )
        await sandbox.kill_all()
        assert await process.wait() == 137
        assert not alive(pid)
        done = await sandbox.exec("ls daemon.pid; echo on")
        assert done.stdout == b"daemon.pid\non\n"
    finally:
        await sandbox.close()
