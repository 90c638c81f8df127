"""The files that an environment's code stands in, and what was in them.

The invariant: the same files have the same digests on any machine, wherever their folder lies. Of an
environment in a file these are the file and whatever it imports from its own folder, directly or not.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from rollway.environments.loading import is_file_spec, list_environments, split_spec


def source_digests(spec: str) -> dict[str, str]:
    """File name to digest, for an environment as `load_environment` takes it. Empty where its source is
    nowhere to be found (a built-in module).

    Raises:
        OSError: a file cannot be read.
    """
    place, _ = split_spec(spec)
    if is_file_spec(spec):
        return file_digests(Path(place).expanduser().resolve())
    if place in list_environments():
        folder = Path(__file__).parent / place
        return _digests({file for file in folder.rglob("*") if _is_source(file)}, folder.parent)
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        return {}
    origin = Path(found.origin) if found is not None and found.origin else None
    return file_digests(origin) if origin is not None and origin.suffix == ".py" else {}


def file_digests(path: Path) -> dict[str, str]:
    """The same for a file and what it imports from its own folder.

    Raises:
        OSError: a file cannot be read.
    """
    root = path.parent
    found: set[Path] = set()
    left = [path]
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += _imported(file, root)
    return _digests(found, root)


def _is_source(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts


def _digests(files: set[Path], root: Path) -> dict[str, str]:
    named = {_name(file, root): file for file in files}
    return {
        name: hashlib.blake2b(named[name].read_bytes(), digest_size=8).hexdigest() for name in sorted(named)
    }


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """The files that an import may mean: beside the environment's file, or relative to ``file``."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(root, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            folder = root if node.level == 0 else file.parents[min(node.level, len(file.parents)) - 1]
            parts = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _files_of(folder, [*parts, alias.name])


def _files_of(folder: Path, parts: list[str]) -> Iterator[Path]:
    """The modules on the way to ``a.b.c`` that are in ``folder``."""
    for count in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:count])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file
