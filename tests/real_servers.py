"""Servers that the tests start as processes of their own: waiting until one answers."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from pathlib import Path

import pytest


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path, *, seconds: float) -> None:
    """Wait until ``/health`` answers; fail with the end of the log when the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
        except OSError:
            time.sleep(0.05)  # nothing to wait on but the server's own answer
        else:
            return
    pytest.fail(f"the server was not healthy within {seconds:g} s:\n{log.read_text()[-4000:]}")
