"""How much CPU it takes to import the package and to show the help."""

from __future__ import annotations

import subprocess
import sys

CASES = {
    "python -c pass": "pass",
    "import rollway": "import rollway",
    "from rollway import AgentLoop": "from rollway import AgentLoop",
    "rollway --help": "from rollway.cli import main; main(['--help'])",
}


def cpu_seconds(code: str) -> float:
    """The least of five runs of a fresh process, its own start included."""
    program = (
        "import os, sys\n"
        f"try:\n    exec({code!r})\nexcept SystemExit:\n    pass\n"
        "times = os.times()\nprint(times.user + times.system, file=sys.stderr)"
    )
    runs = (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
        for _ in range(5)
    )
    return min(float(stderr.strip().split("\n")[-1]) for stderr in runs)


def main(argv: list[str]) -> None:
    for name, code in CASES.items():
        print(f"{name:32} {cpu_seconds(code):6.2f} s CPU")
