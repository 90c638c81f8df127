"""Run one of the measured programs against the scripted server, and hold it to what the server saw.

Every program takes its settings as JSON and prints its readings as the last line. A program that sent other
requests than the script has turns has measured something else, and is refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.script import Script
from benchmarks.serving import ROOT, ScriptedServer

TIMEOUT = 3600.0  # seconds of one program


def run_program(
    server: ScriptedServer,
    module: str,
    script: Script,
    rollouts: int,
    in_flight: int,
    *,
    python: Path | str = sys.executable,
    warm_up: int,
    **more: Any,
) -> dict[str, Any]:
    """The readings of one fresh process.

    Args:
        module: run with ``python -m``.
        warm_up: rollouts that it does before it measures.
        more: further settings of the program.

    Raises:
        RuntimeError: it failed, or did not do what it was asked to.
    """
    before = server.counts()
    asked = {"address": server.address, "path": script.path, "rollouts": rollouts, "in_flight": in_flight}
    done = subprocess.run(
        [python, "-m", module, json.dumps(asked | more)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    after = server.counts()
    seen = {name: after[name] - before[name] for name in ("requests", "answers", "read", "sent")}
    expected = {"answers": rollouts, "turns": rollouts * (script.turns + 1), "calls": rollouts * script.turns}
    found = {name: told[name] for name in expected}
    if found != expected or seen["answers"] != rollouts + warm_up:
        raise RuntimeError(f"{module} did {found}, the server saw {seen}; asked for was {expected}")
    if seen["requests"] != (rollouts + warm_up) * (script.turns + 1):
        raise RuntimeError(f"{module} sent {seen['requests']} requests for {rollouts + warm_up} rollouts")
    share = rollouts / (rollouts + warm_up)
    told["read"], told["sent"] = seen["read"] * share, seen["sent"] * share
    told["most_waiting"] = after["most_waiting"]
    return told
