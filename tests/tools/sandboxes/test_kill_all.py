"""`kill_all`: nothing that was started goes on, and the sandbox does."""

from __future__ import annotations

from rollway.tools.sandboxes import SandboxSpec, open_sandbox
from rollway.tools.sandboxes.agent.system import process

DAEMON = (
    "(setsid sh -c 'echo $$ > daemon.pid; while :; do sleep 0.01; echo x >> beat; done' &) >/dev/null 2>&1"
)


def alive(pid: int) -> bool:
    found = process(pid)
    return found is not None and not found.ended


async def test_daemons_and_processes_end_and_files_stay() -> None:
    sandbox = await open_sandbox(SandboxSpec(backend="local"))
    try:
        shell = await sandbox.start(["bash"])
        await sandbox.exec(DAEMON)
        pid = int(
            (await sandbox.exec("until [ -s daemon.pid ]; do :; done; cat daemon.pid", timeout=60)).stdout
        )
        await sandbox.kill_all()
        assert await shell.wait() == 137
        assert not alive(pid)
        done = await sandbox.exec("ls daemon.pid; echo on")
        assert done.stdout == b"daemon.pid\non\n"
    finally:
        await sandbox.close()
