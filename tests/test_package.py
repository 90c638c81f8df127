"""The package as a whole: its public names, its cost, its layers, its doors, its wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rollway

ROOT = Path(__file__).parent.parent
HEAVY = ["ray", "wandb", "datasets", "transformers", "torch", "numpy", "openai", "pyarrow"]

LAYERS = [  # from the top down; a module imports only from its own entry and from those below
    {"cli"},
    {"verification", "chaos"},
    {"evaluation", "export"},
    {"embedded"},
    {"scoring"},
    {"environments"},
    {"agent_loop"},
    {"replies"},
    {"inference", "tools", "tool_parsers", "limits"},
    {"sequences", "statistics", "branching"},
    {"data", "stored"},
    {"trajectory", "errors", "event_loop"},
    {
        "rounds",
        "whole_files",
        "student_t",
        "sums",
        "wilson",
        "plain_values",
        "json_keys",
        "absent_keys",
        "clock",
        "keys",
        "interrupts",
        "interrupt_guard",
    },
]


def stdout_of(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout


def cpu_seconds(code: str) -> float:
    """The least of three runs in fresh processes, without the interpreter's own start."""
    program = f"import time\nstart = time.process_time()\n{code}\nprint(time.process_time() - start)"
    return min(float(stdout_of(program).strip().split("\n")[-1]) for _ in range(3))


def test_every_public_name_can_be_had() -> None:
    for name in rollway.__all__:
        assert getattr(rollway, name) is not None
    with pytest.raises(AttributeError, match="'rollway' has no attribute 'Nonsense'"):
        _ = rollway.Nonsense


def test_importing_the_package_costs_little_and_loads_nothing_heavy() -> None:
    assert cpu_seconds("import rollway") < 0.3
    names = "[getattr(rollway, name) for name in rollway.__all__]"
    loaded = stdout_of(f"import rollway, sys; {names}; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_help_answers_at_once() -> None:
    command = "from rollway.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert "eval" in stdout_of(command)
    assert cpu_seconds(command) < 0.5


@pytest.mark.parametrize("door", ["environments", "tool_parsers", "tools", "configs"])
def test_the_doors_lead_into_the_package(door: str) -> None:
    assert (ROOT / door).is_symlink()
    assert (ROOT / door).resolve() == ROOT / "rollway" / door


def layer_of(module: str) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if module in names), None)


def imports_of(path: Path) -> set[str]:
    """First-level parts of the package that a file imports, anywhere in it."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("rollway.")}
    return parts


def test_imports_run_downward_only() -> None:
    wrong = []
    for path in (ROOT / "rollway").rglob("*.py"):
        inside = path.relative_to(ROOT / "rollway")
        own = inside.parts[0].removesuffix(".py")
        level = layer_of(own)
        if own == "__init__":
            continue
        assert level is not None, f"{own} has no place in LAYERS"
        for other in imports_of(path) - {own}:
            target = layer_of(other)
            if target is None or target <= level:
                wrong.append(f"{inside} imports rollway.{other}")
    assert wrong == []
