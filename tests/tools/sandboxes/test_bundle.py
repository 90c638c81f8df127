"""The agent's program stands alone, whichever Python runs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from rollway.tools.sandboxes.agent import bundle

FOLDER = Path(bundle.__file__).parent
OWN = "rollway.tools.sandboxes.agent."


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_every_module_is_bundled_after_those_that_it_imports() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "bundle"}
    assert set(bundle.MODULES) == files
    for place, name in enumerate(bundle.MODULES):
        ours = {module for module in imports_of(FOLDER / f"{name}.py") if module.startswith("rollway")}
        assert ours <= {OWN + earlier for earlier in bundle.MODULES[:place]}, name


def test_its_modules_import_the_standard_library_and_each_other_alone() -> None:
    for name in bundle.MODULES:
        for module in imports_of(FOLDER / f"{name}.py"):
            assert module.startswith(OWN) or module.split(".")[0] in {*sys.stdlib_module_names, "_signal"}


@pytest.mark.parametrize("compiled", [True, False])
def test_it_runs_as_one_file_without_our_packages_and_loads_little(compiled: bool, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(bundle.program(compiled=compiled))
    command = [sys.executable, "-I", "-S", "program"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert "ValueError: not enough values to unpack" in done.stderr
    command = [sys.executable, "-I", "-S", "-X", "importtime", "program"]
    loaded = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
    ).stderr
    modules = {line.split("|")[-1].strip() for line in loaded.splitlines() if line.startswith("import time:")}
    assert modules.isdisjoint({"typing", "json", "re", "enum", "signal", "socket", "tarfile", "collections"})
