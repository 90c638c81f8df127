"""Bubblewrap for an ordinary user: in a user namespace, with the same bounds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, json
from rollway.tools.sandboxes import SandboxLimits, SandboxSpec, open_sandbox

MIB = 1 << 20
FORKS = '''
import os, time
try:
    for n in range(200):
        if os.fork() == 0: time.sleep(600)
except OSError: pass
print(n)
'''

async def main():
    limits = SandboxLimits(memory=256 * MIB, processes=32, file_size=16 * MIB, disk=64 * MIB)
    sandbox = await open_sandbox(SandboxSpec(limits=limits))
    try:
        told = {}
        async def tell(name, command, timeout=30):
            done = await sandbox.exec(command, timeout=timeout)
            told[name] = (done.stdout.decode().strip(), done.exit_code)
            await sandbox.kill_all()
        await tell("user", "id -un; grep -E 'Cap(Prm|Eff|Bnd)|NoNew' /proc/self/status")
        await tell("forks", ["python3", "-c", FORKS])
        await tell("bomb", ":(){ :|:& };:; wait; sleep 100", 0.5)
        await tell("on", "echo on")
        await tell("disk", "for n in 1 2 3 4 5 6; do head -c 15M /dev/zero > f$n; done; du -sm . | cut -f1")
        await tell("write", "echo x > /usr/zz || echo x > /etc/zz || echo x > /zz || echo x > /dev/zz")
        await tell("users", "unshare -Ur true")
        await tell("agent", "kill -9 1; cat /proc/1/environ; kill -9 -1")
        await tell("net", "echo > /dev/tcp/127.0.0.1/22; ls -d /proc/[0-9]* | wc -l")
        print(json.dumps(told))
    finally:
        await sandbox.close()

asyncio.run(main())
"""


def run_as_nobody() -> subprocess.CompletedProcess[str]:
    """The program as user 65534, by the system's Python: ours may lie where only root can read."""
    packages = Path(__file__).parents[3]
    site = Path(os.path.dirname(pytest.__file__)).parent
    return subprocess.run(
        [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            PROGRAM,
        ],
        capture_output=True,
        text=True,
        timeout=110,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{packages}:{site}", "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )


@pytest.fixture(scope="module")
def told() -> dict[str, tuple[str, int]]:
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("bwrap"):
        pytest.skip("needs root, setpriv and bwrap")
    version = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=False).stdout
    if not version.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}."):
        pytest.skip("needs the system's python3 to be of our version")
    done = run_as_nobody()
    if (
        "namespaces are not permitted" in done.stderr
        or "No permissions to create new namespace" in done.stderr
    ):
        pytest.skip("user namespaces are off here")
    if "ModuleNotFoundError" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"another user cannot read this installation: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    found: dict[str, tuple[str, int]] = json.loads(done.stdout)
    return found


def test_it_is_a_user_without_privileges(told: dict[str, tuple[str, int]]) -> None:
    assert told["user"][0].split() == [
        "sandbox",
        *(word for name in ("Prm", "Eff", "Bnd") for word in (f"Cap{name}:", "0" * 16)),
        "NoNewPrivs:",
        "1",
    ]


def test_processes_and_disk_are_bounded_in_the_namespace(told: dict[str, tuple[str, int]]) -> None:
    assert 20 < int(told["forks"][0]) < 33
    assert int(told["disk"][0]) <= 64
    assert told["on"] == ["on", 0]


def test_nothing_of_the_system_is_written_and_no_namespace_nested(told: dict[str, tuple[str, int]]) -> None:
    assert told["write"][1] != 0
    assert told["users"][1] != 0


def test_the_agent_survives_and_the_host_is_not_reached(told: dict[str, tuple[str, int]]) -> None:
    assert told["agent"] == ["", 137]
    assert int(told["net"][0]) < 10
