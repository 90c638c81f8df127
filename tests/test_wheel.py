"""A wheel, installed away from the checkout, does the main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WHERE = "import rollway; print(rollway.__file__)"
SMALL_RUN = ("eval", "calculator", "--workers", "0", "--tasks", "6", "--out", "run")


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def all_scored(folder: Path) -> bool:
    summary = json.loads((folder / "run" / "summary.json").read_text())
    return 0 < summary["scored"] == summary["asked"]


@pytest.fixture
def away(tmp_path: Path) -> Path:
    folder = tmp_path / "away"
    folder.mkdir()
    return folder


@pytest.fixture
def wheel(tmp_path: Path, away: Path) -> Path:
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    run(*build, cwd=away)
    (found,) = (tmp_path / "dist").glob("*.whl")
    return found


def test_a_wheel_holds_all_that_a_run_needs(wheel: Path, away: Path, tmp_path: Path) -> None:
    """Beside the libraries that are installed here."""
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, cwd=away)
    home = run(
        sys.executable, "-c", "import rollway; print(rollway.__file__)", cwd=away, PYTHONPATH=str(site)
    )
    assert str(site) in home
    run(site / "bin" / "rollway", *SMALL_RUN, cwd=away, PYTHONPATH=str(site))
    assert all_scored(away)


@pytest.mark.install
@pytest.mark.timeout(600)  # it downloads what is not in pip's cache
def test_a_wheel_in_an_empty_environment_runs_the_calculator(wheel: Path, away: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=away)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=away)
    home = run(python, "-c", WHERE, cwd=away)
    assert str(tmp_path / "empty") in home
    run(tmp_path / "empty" / "bin" / "rollway", *SMALL_RUN, cwd=away)
    assert all_scored(away)
