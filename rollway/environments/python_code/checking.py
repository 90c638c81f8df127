"""Is a solution right? The sandbox runs it; the verdict is made here.

A solution that hangs, floods, crashes or lies is wrong. A sandbox that fails is no verdict: `SandboxError`
goes through.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rollway.environments.python_code.cases import Case, Suite, parse_tests
from rollway.environments.python_code.matching import agrees
from rollway.tools.sandboxes import ExecResult, Sandbox, SandboxFileError

SOLUTION = "solution.py"
"""The file in the workspace that is checked."""

MAX_SOLUTION = 1 << 18
"""Bytes of it."""

MAX_REASON = 500

_HERE = Path(__file__).parent


class Verdict(msgspec.Struct, frozen=True):
    """What came of a check."""

    cases: int
    passed: int
    reason: str = ""  # why not all of them passed, for people; the model is not told

    @property
    def all_passed(self) -> bool:
        return self.passed == self.cases


def _program(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


async def read_solution(sandbox: Sandbox) -> str | None:
    """The solution that a rollout left in its workspace; ``None`` when there is none that can be read."""
    try:
        content = await sandbox.read(SOLUTION, max_bytes=MAX_SOLUTION + 1)
        return content.decode() if len(content) <= MAX_SOLUTION else None
    except (SandboxFileError, UnicodeDecodeError):
        return None


async def check_solution(sandbox: Sandbox, code: str, tests: str, *, timeout: float = 20.0) -> Verdict:
    """Hold ``code`` to hidden tests, as text, within ``timeout`` seconds together.

    Raises:
        SandboxError: the sandbox is gone.
        ValueError: the text holds no such tests.
    """
    return await check_cases(sandbox, code, parse_tests(tests), timeout=timeout)


async def check_cases(sandbox: Sandbox, code: str, suite: Suite, *, timeout: float) -> Verdict:
    """Run ``code`` on the inputs of all cases, within ``timeout`` seconds together.

    Raises:
        SandboxError: the sandbox is gone.
    """
    job = {"code": code, "given": "", "entry_point": "", "preamble": suite.preamble}
    lines = [job, *(case.source for case in suite.cases)]
    done = await sandbox.exec(
        ["python3", "-I", "-c", _program("worker.py")],
        stdin="".join(json.dumps(line) + "\n" for line in lines).encode(),
        timeout=timeout,
    )
    loaded, *answers = _answers(done) or [None]
    if loaded != {"loaded": True}:
        return Verdict(len(suite.cases), 0, _not_loaded(loaded, done))
    passed = [_passes(case, answer) for case, answer in zip(suite.cases, answers, strict=False)]
    return Verdict(len(suite.cases), sum(passed), _first_failure(suite, passed, answers, done))


async def check_asserts(sandbox: Sandbox, code: str, task: Mapping[str, Any], *, timeout: float) -> Verdict:
    """Hold ``code`` to tests in HumanEval's form, within ``timeout`` seconds. They count as one case.

    What is expected goes into the sandbox here, to a process of its own; nothing else should run there.

    Raises:
        SandboxError: the sandbox is gone.
    """
    token = secrets.token_hex(16)
    job = {name: task[name] for name in ("given", "canonical_solution", "entry_point", "test")}
    job |= {"code": code, "token": token, "worker": _program("worker.py")}
    done = await sandbox.exec(
        ["python3", "-I", "-c", _program("judge.py")], stdin=json.dumps(job).encode() + b"\n", timeout=timeout
    )
    if done.stdout.split(b"\n")[-2:] == [token.encode(), b""]:
        return Verdict(1, 1)
    return Verdict(1, 0, ended(done))


def _answers(done: ExecResult) -> list[Any]:
    """The lines of an output up to the first that is no JSON."""
    answers = []
    for line in done.stdout.split(b"\n")[:-1]:
        try:
            answers.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return answers


def _passes(case: Case, answer: Any) -> bool:
    if not isinstance(answer, list) or len(answer) != len(case.expected):
        return False
    return all(map(agrees, answer, case.expected))


def _not_loaded(answer: Any, done: ExecResult) -> str:
    if isinstance(answer, dict) and isinstance(answer.get("failed"), str):
        return f"{SOLUTION} does not load: {answer['failed'][:MAX_REASON]}"
    return f"{SOLUTION} does not load: {ended(done)}"


def _first_failure(suite: Suite, passed: list[bool], answers: list[Any], done: ExecResult) -> str:
    if False in passed:
        at = passed.index(False)
        return f"{suite.cases[at].text}\ngot {json.dumps(answers[at])[:MAX_REASON]}"
    if len(passed) < len(suite.cases):
        return f"{suite.cases[len(passed)].text}\n{ended(done)}"
    return ""


def ended(done: ExecResult) -> str:
    """How a command ended that did not say what it should have."""
    if done.timed_out:
        return f"out of time after {done.duration:.1f} s"
    if done.output_exceeded or done.stdout_cut:
        return "too much output"
    shown = done.stderr.decode(errors="replace").strip()[-MAX_REASON:]
    return f"ended with exit code {done.exit_code}" + (f": {shown}" if shown else "")
