"""What README and docs/ show runs as it stands there: every Python block of a page, in order."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollway.inference.launch import launch_embedded_sync
from rollway.trajectory import StopReason, Trajectory

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODEL = re.compile(r"Qwen/Qwen3-8B|gpt-5-mini|my-model")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


WITH_PYTHON = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with launch_embedded_sync(policy="calculator") as base_url:
        yield base_url


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_the_python_on_a_page_runs(
    page: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's server in an example is the embedded one here. A page is the main module, as for a user."""
    program = "\n\n".join(BLOCK.findall(page.read_text()))
    program = MODEL.sub("calculator", program.replace("http://127.0.0.1:8000", server))
    (tmp_path / "page.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    runpy.run_path("page.py", run_name="__main__")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_on_a_page_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_environment_of_the_readme_runs_from_the_command_line(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    (tmp_path / "sums.py").write_text(next(block for block in blocks if "class Sums" in block))
    command = [sys.executable, "-m", "rollway.cli", "eval", "sums.py", "--workers", "0", "--tasks", "8"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "8 scored" in done.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/environments.md", "docs/scoring.md", "docs/data.md"])
def test_no_reward_that_is_shown_first_is_won_without_an_answer(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right number stands in a tool's result, and then a limit ends the rollout."""
    block = next(block for block in BLOCK.findall((ROOT / page).read_text()) if "(trajectory, task)" in block)
    definition = re.search(r"^def \w+\(trajectory, task\):\n(?:    .*\n)+", block, re.MULTILINE)
    assert definition is not None
    found: dict[str, Callable[..., object]] = {}
    exec(definition.group(), found)
    reward = next(value for name, value in found.items() if not name.startswith("__"))
    messages = [{"role": "tool", "tool_call_id": "c", "content": "7"}]
    assert not reward(Trajectory("t", messages, stop_reason=StopReason.MAX_TURNS), {"answer": "7"})
    answered = [*messages, {"role": "assistant", "content": "It is 7."}]
    assert reward(Trajectory("t", answered, stop_reason=StopReason.COMPLETED), {"answer": "7"})
