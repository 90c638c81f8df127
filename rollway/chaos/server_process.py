"""The scripted server as its chaos run holds it: started, killed and started again on its port, stopped.

The invariant: at most one is there, always at one address; it ends with the context manager, or with us.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rollway.chaos.faults import Plan


class ServerProcess:
    """A context manager; the server runs within it.

    Args:
        plan: what it is to answer.
        log: where it notes its answers.
        output: where what it prints about wrong requests goes.
    """

    def __init__(self, plan: Plan, log: Path, output: Path) -> None:
        self._plan, self._log, self._output = plan, log, output
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its address, without /v1."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            OSError: it does not start.
        """
        command = [sys.executable, "-m", "rollway.chaos.server", str(self._port)]
        command += [msgspec.json.encode(self._plan).decode(), str(self._log)]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, text=True
            )
        assert self._process.stdout is not None, "it was given a pipe"
        told = self._process.stdout.readline()
        if not told:
            raise OSError(f"the scripted server did not start; see {self._output}")
        self._port = int(told)

    def kill(self) -> None:
        """End it at once, with every connection."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None, "it was given a pipe"
            self._process.stdout.close()
            self._process = None

    def stand_still(self) -> None:
        """Let it do nothing until `go_on`: connections open, and no answer comes."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of `stand_still`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
