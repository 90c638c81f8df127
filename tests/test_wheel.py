"""A wheel, installed in an empty environment away from the checkout, does the main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.mark.timeout(600)  # it downloads what is not in pip's cache
def test_a_wheel_in_an_empty_environment_runs_the_calculator(tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT, cwd=away)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=away)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=away)
    home = run(python, "-c", "import rollway; print(rollway.__file__)", cwd=away)
    assert str(tmp_path / "empty") in home
    rollway = tmp_path / "empty" / "bin" / "rollway"
    run(rollway, "eval", "calculator", "--workers", "0", "--tasks", "6", "--out", away / "run", cwd=away)
    summary = json.loads((away / "run" / "summary.json").read_text())
    assert summary["scored"] == summary["asked"] > 0
