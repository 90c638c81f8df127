"""Puts what the benchmarks printed into ``docs/performance.md``, between marks, one pair for each benchmark.

A benchmark that did not run keeps what it had. Everything outside the marks is written by hand.
"""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving import ROOT

PAGE = ROOT / "docs" / "performance.md"
PACKAGES = ("aiohttp", "msgspec", "ray", "openai", "numpy")


def machine() -> list[str]:
    """Where and with what this was measured."""
    cores = f"{os.cpu_count()} cores" if (os.cpu_count() or 0) > 1 else "1 core"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"{time.strftime('%Y-%m-%d')}, {_processor()}, {cores}, {_memory()}, Linux {platform.release()}",
        f"Python {platform.python_version()}, {packages}",
    ]


def write_report(name: str, printed: str) -> bool:
    """Put what one benchmark printed in its place on the page. False: the page has no place for it."""
    begin, end = f"<!-- {name}: written by make bench -->", f"<!-- {name}: end -->"
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, also_found, after = rest.partition(end)
    if not (found and also_found):
        return False
    where = "\n".join(machine())
    block = f"{begin}\n```text\n{where}\n\n{printed.strip()}\n```\n{end}"
    PAGE.write_text(before + block + after, encoding="utf-8")
    return True


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _memory() -> str:
    kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{kilobytes / 2**20:.0f} GB"
