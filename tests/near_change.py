"""Print the tests that stand nearest to what has changed: ``make check`` runs these.

What has changed is what differs from the last commit, or the last commit itself where nothing does.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALWAYS = ("tests/test_package.py", "tests/agent_loop")


def changed_files() -> list[str]:
    """Paths from the project's root."""
    edited = _git("diff", "--name-only", "HEAD") + _git("ls-files", "--others", "--exclude-standard")
    return edited or _git("diff", "--name-only", "HEAD~1")


def tests_near(path: str) -> list[str]:
    """The tests of one file: those of its name, else those of the nearest folder that has any."""
    file = Path(path)
    if file.suffix == ".md":
        return ["tests/test_docs.py"]
    if file.suffix != ".py" or file.parts[0] not in ("rollway", "tests"):
        return []
    if file.parts[0] == "tests":
        return [path] if file.name.startswith("test_") and (ROOT / path).exists() else []
    folder = Path("tests", *file.parent.parts[1:])
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    named = sorted((ROOT / folder).rglob(f"test_{file.stem}*.py"))
    if named:
        return [str(test.relative_to(ROOT)) for test in named]
    return [] if folder == Path("tests") else [str(folder)]


def _git(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


if __name__ == "__main__":
    near = [test for path in changed_files() for test in tests_near(path)]
    print(" ".join(dict.fromkeys([*near, *ALWAYS])))
