"""What pyproject.toml declares is what the code imports, what the pins allow, what others can live with."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "dev"}

NAMED_OTHERWISE = {"yaml": "pyyaml"}  # modules, and the packages that bring them
FOR_TYPES_ONLY = {"_typeshed"}
IN_EXTRA = {  # nothing else may import what an extra brings
    "tools/mcp/": "mcp",
    "embedded/training/": "train",
    "inference/renderers_writer.py": "renderers",
}


def declared(lines: list[str]) -> dict[str, Requirement]:
    requirements = map(Requirement, lines)
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def imported(path: Path) -> Iterator[str]:
    """The packages whose modules a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for module in {name.split(".")[0] for name in names}:
            if module not in {*sys.stdlib_module_names, *FOR_TYPES_ONLY, "rollway"}:
                yield canonicalize_name(NAMED_OTHERWISE.get(module, module))


def sources() -> Iterator[tuple[str, set[str]]]:
    for path in (ROOT / "rollway").rglob("*.py"):
        inside = path.relative_to(ROOT / "rollway").as_posix()
        if not inside.startswith("environments/terminal/tasks/"):  # files of tasks, not of the package
            yield inside, set(imported(path))


def test_every_package_that_is_imported_is_declared_or_in_the_extra_of_its_part() -> None:
    always = declared(PROJECT["dependencies"])
    undeclared = {}
    for inside, packages in sources():
        extra = next((name for place, name in IN_EXTRA.items() if inside.startswith(place)), None)
        lacking = packages - {*always, *(declared(EXTRAS[extra]) if extra else ())}
        if lacking:
            undeclared[inside] = lacking
    assert undeclared == {}


def test_every_package_that_is_always_installed_is_imported() -> None:
    used = {package for _, packages in sources() for package in packages}
    assert set(declared(PROJECT["dependencies"])) - used == set()


def test_every_declared_package_is_pinned_to_a_version_that_its_bounds_admit() -> None:
    pins = declared((ROOT / "constraints.txt").read_text().splitlines())
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins.values()), "versions only"
    extras = [line for name, lines in EXTRAS.items() if name != "train" for line in lines]
    dev = [line for line in PROJECT["optional-dependencies"]["dev"] if not line.startswith("rollway[")]
    for name, requirement in declared([*PROJECT["dependencies"], *extras, *dev]).items():
        pinned = str(pins[name].specifier).removeprefix("==")
        assert requirement.specifier.contains(pinned, prereleases=True), (
            f"{requirement} is pinned to {pinned}"
        )


@pytest.mark.parametrize("version", ["2.0.0", "2.3.0"])
def test_the_extra_mcp_installs_beside_verifiers_040_which_wants_mcp_200(version: str) -> None:
    """That all of it resolves is for `make resolve`, which asks the index."""
    assert declared(EXTRAS["mcp"])["mcp"].specifier.contains(version)
