"""Start the scripted server for a benchmark, ask it what it did, and end it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


class ScriptedServer:
    """Running processes that share one port."""

    def __init__(self, processes: list[subprocess.Popen[str]], port: int) -> None:
        self._processes = processes
        self.address = f"http://127.0.0.1:{port}"
        self.pids = [process.pid for process in processes]

    def counts(self) -> dict[str, int]:
        """What was asked and answered since the start, of all processes together."""
        total: dict[str, int] = {}
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            for name, value in json.loads(process.stdout.readline()).items():
                total[name] = total.get(name, 0) + value
        return total


@contextmanager
def scripted_server(processes: int = 1) -> Iterator[ScriptedServer]:
    """The server, ready. It is gone after the block."""
    running: list[subprocess.Popen[str]] = []
    port = 0
    try:
        for _ in range(processes):
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.scripted_server", str(port)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            running.append(process)
            assert process.stdout is not None
            port = int(process.stdout.readline())
        yield ScriptedServer(running, port)
    finally:
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()
