"""Checks that are a script: ``tests/test.sh`` or ``run-tests.sh``, run in the sandbox that the rollout left.

The script and what it needs come into the sandbox only now, into folders that did not exist before: where
the rollout made files in their place, these are removed first. The verdict is what the script left or
printed; one that left none is "not solved", with the reason.
"""

from __future__ import annotations

import json
import math
import secrets
import shlex
from typing import Any

import msgspec

from rollway.environments.terminal.checking import CheckFailed
from rollway.environments.terminal.clean_shell import CLEAN_ENVIRONMENT, run_clean
from rollway.environments.terminal.folders import TaskFolder
from rollway.environments.terminal.terminal_bench import read_pytest_output
from rollway.environments.terminal.verdict import Verdict, unsolved
from rollway.tools.sandboxes import ExecResult, Sandbox, SandboxFileError

MAX_REWARD_FILE = 1 << 16
_OUTPUT_KEPT = 1 << 20
_OPEN_ROOT = "chmod u+w / 2>/dev/null"  # some images close it, and root has no other right to it here


class Places(msgspec.Struct, frozen=True):
    """Where a check lies in the sandbox, as absolute paths."""

    tests: str
    logs: str


async def run_script(folder: TaskFolder, sandbox: Sandbox) -> Verdict:
    """Run a task's script and read its verdict.

    Raises:
        SandboxError: the sandbox is gone.
    """
    in_container = folder.image is not None
    try:
        places = await _bring(folder, sandbox, in_container)
    except (SandboxFileError, CheckFailed) as error:  # such as a disk that was filled
        return unsolved(f"cannot copy the check into the sandbox: {error}")
    script = "run-tests.sh" if folder.form == "terminal-bench" else "test.sh"
    done = await sandbox.exec(
        ["/bin/bash", "--noprofile", "--norc", f"{places.tests}/{script}"],
        directory=folder.directory or sandbox.workspace,
        timeout=folder.check_timeout,
        max_output=_OUTPUT_KEPT,
        environment={**_variables(places, in_container), **folder.check_environment},
    )
    if done.timed_out:
        return unsolved(f"{script} did not finish within {folder.check_timeout:g} s")
    if folder.form == "terminal-bench":
        return read_pytest_output(done.stdout.decode(errors="replace"))
    return await _read_reward(sandbox, places, done)


async def has_room(sandbox: Sandbox) -> bool:
    """Can a script be brought into this container later? Asked when a no is not yet the rollout's doing."""
    made = "mkdir -p /tests /logs/verifier && [ -w /tests ] && [ -w /logs/verifier ]"
    removed = "rmdir /logs/verifier /logs /tests 2>/dev/null"  # what the image has in them stays
    done = await run_clean(sandbox, f"{_OPEN_ROOT}; {made} || exit 1; {removed}; exit 0", timeout=60.0)
    return done.exit_code == 0


async def _bring(folder: TaskFolder, sandbox: Sandbox, in_container: bool) -> Places:
    """Upload the check. In a container it goes where such scripts look for it: ``/tests`` and ``/logs``."""
    name = f".check-{secrets.token_hex(8)}"
    base = f"{sandbox.workspace.rstrip('/')}/{name}"
    await sandbox.upload(folder.path / "tests", f"{name}/tests")
    if folder.form == "terminal-bench":
        await sandbox.upload(folder.path / "run-tests.sh", f"{name}/tests/run-tests.sh")
    places = (
        Places("/tests", "/logs/verifier")
        if in_container
        else Places(f"{base}/tests", f"{base}/logs/verifier")
    )
    steps = [f"mkdir -p {shlex.quote(places.logs)}"]
    if in_container:  # a link in the place of one of them is removed, never followed
        removed = f"{_OPEN_ROOT}; rm -rf /tests /logs/verifier && {{ [ ! -L /logs ] || rm -f /logs; }}"
        copied = f"mkdir /tests && cp -R {shlex.quote(base)}/tests/. /tests && rm -rf {shlex.quote(base)}"
        steps = [removed, *steps, copied]
    done = await run_clean(sandbox, " && ".join(steps), timeout=60.0)
    if done.exit_code != 0:
        raise CheckFailed(_words(done))
    return places


def _variables(places: Places, in_container: bool) -> dict[str, str]:
    """An image's own PATH and HOME are what its script counts on; elsewhere everything is set."""
    named = {
        "TEST_DIR": places.tests,
        "TESTS_DIR": places.tests,
        "LOGS_DIR": places.logs.removesuffix("/verifier"),
    }
    base = CLEAN_ENVIRONMENT
    if in_container:
        base = {key: value for key, value in base.items() if key not in ("PATH", "HOME", "LD_LIBRARY_PATH")}
    return {**base, **named}


async def _read_reward(sandbox: Sandbox, places: Places, done: ExecResult) -> Verdict:
    """The reward that the script wrote: ``reward.json``, or else ``reward.txt``."""
    for name, read in (("reward.json", _from_json), ("reward.txt", _from_text)):
        path = shlex.quote(f"{places.logs}/{name}")
        found = await run_clean(sandbox, f"[ -f {path} ] && head -c {MAX_REWARD_FILE} {path}", timeout=60.0)
        if found.exit_code != 0:
            continue
        try:
            return read(found.stdout)
        except (ValueError, RecursionError) as error:
            return unsolved(f"test.sh left a {name} that is not a reward: {error}")
    return unsolved(f"test.sh left no reward: {_words(done)}")


def _from_text(content: bytes) -> Verdict:
    return Verdict(reward=_finite(float(content.decode())))


def _from_json(content: bytes) -> Verdict:
    """``reward`` of the object, or its only number; other numbers from 0 to 1 are partial checks."""
    read: Any = json.loads(content)
    if not isinstance(read, dict):
        raise ValueError("not an object")
    numbers = {
        key: _finite(float(value))
        for key, value in read.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if "reward" not in numbers and len(numbers) != 1:
        raise ValueError("it has no field reward")
    reward = numbers.pop("reward") if "reward" in numbers else next(iter(numbers.values()))
    passed = [key for key, value in numbers.items() if value >= 1]
    failed = {key: f"{value:g}" for key, value in numbers.items() if value < 1}
    return Verdict(reward=reward, passed=passed, failed=failed)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def _words(done: ExecResult) -> str:
    told = (done.stderr or done.stdout).decode(errors="replace").strip()[-300:]
    return f"exit code {done.exit_code}" + (f": {told}" if told else "")
