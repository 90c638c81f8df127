"""The program that runs tests which hold their answers in code (HumanEval's ``check(candidate)``).

The solution runs in a process of its own (`worker`), which is sent the arguments of each call and returns
plain values; the tests and what they expect stay in this process. It says so when ``check`` came to its end,
with a token that only its standard input told it. Its text is sent to a sandbox; it needs the standard
library alone.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from typing import Any

MAX_ANSWER = 1 << 20  # bytes of one answer


class Candidate:
    """The solution's function, as the tests call it."""

    def __init__(self, worker: str, job: dict[str, str]) -> None:
        self.name = job["entry_point"]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        answer = self.ask(job)
        if answer != {"loaded": True}:
            raise RuntimeError("solution.py does not load: " + str(answer)[:300])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        answer = self.ask("_value(" + self.name + "(*" + repr(args) + ", **" + repr(kwargs) + "))")
        if len(answer) != 1:
            raise RuntimeError("one call has one value")
        return decode(answer[0])

    def ask(self, request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline(MAX_ANSWER)
        if not line.endswith(b"\n"):
            raise RuntimeError("the solution ended, or wrote too much")
        return json.loads(line)


def decode(sent: Any) -> Any:
    """The plain value that `worker.encode` wrote down.

    Raises:
        RuntimeError: it was an exception, or no plain value.
    """
    if isinstance(sent, list):
        return [decode(item) for item in sent]
    if not isinstance(sent, dict):
        return sent
    ((kind, content),) = sent.items()
    if kind == "dict":
        return {decode(key): decode(item) for key, item in content}
    if kind == "tuple":
        return tuple(decode(item) for item in content)
    if kind == "set":
        return frozenset(decode(item) for item in content)  # a set may be in one
    if kind == "bytes":
        return bytes.fromhex(content)
    raise RuntimeError("the solution's call came to " + json.dumps(sent)[:300])


def keep_out() -> None:
    """Let no other process of this user read this one's memory (``PR_SET_DUMPABLE``)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)


def main() -> None:
    keep_out()
    job = json.loads(sys.stdin.readline())
    sys.stdin.close()
    names: dict[str, Any] = {}
    exec(compile(job["given"] + job["canonical_solution"], "given", "exec"), names)  # what the tests call
    exec(compile(job["test"], "test", "exec"), names)
    told = {key: job[key] for key in ("given", "entry_point", "code")}
    candidate = Candidate(job["worker"], {**told, "preamble": ""})
    try:
        names["check"](candidate)
    finally:
        candidate.process.kill()
    sys.stdout.write("\n" + job["token"] + "\n")


if __name__ == "__main__":
    main()
