"""Listing and searching without Python in the sandbox, and what their output is made into."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rollway.tools.builtin import find_scripts

BUSYBOX = shutil.which("busybox")


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but busybox under the names of its applets, as in a small container image."""
    if BUSYBOX is None:
        pytest.skip("there is no busybox")
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run([BUSYBOX, "--install", "-s", str(folder)], check=True)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text("x = 12\n")
    (tmp_path / "binary").write_bytes(b"x = 12\0\n")
    (tmp_path / "link").symlink_to("/etc")
    return tmp_path


def run(busybox: Path, tree: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [str(busybox / "sh"), "-c", script, "sh", str(tree), *arguments]
    return subprocess.run(command, cwd=tree, env={"PATH": str(busybox)}, capture_output=True)


def test_busybox_will_do(busybox: Path, tree: Path) -> None:
    done = run(busybox, tree, find_scripts.LIST, ".", "2")
    assert find_scripts.listing(done.stdout, ".") == "binary (8 B)\nlink (link)\nsrc/\nsrc/a.py (7 B)"
    done = run(busybox, tree, find_scripts.SEARCH, ".", r"x = \d+$", "-name", "*")
    assert find_scripts.matches(done.stdout, ".") == "src/a.py:1: x = 12"
    assert run(busybox, tree, find_scripts.LIST, "link", "2").returncode == find_scripts.OUTSIDE
    assert run(busybox, tree, find_scripts.LIST, "nothing", "2").returncode == find_scripts.NO_SUCH_PATH


@pytest.mark.parametrize(
    ("glob", "test"),
    [
        (None, ("-name", "*")),
        ("", ("-name", "*")),
        ("*.py", ("-name", "*.py")),
        ("src/*.py", ("-path", "*/src/*.py")),
        ("src/**/*.py", ("-path", "*/src/*.py")),
        ("/a/**", ("-path", "*/a/*")),
    ],
)
def test_a_glob_is_one_of_names_or_of_paths(glob: str | None, test: tuple[str, str]) -> None:
    assert find_scripts.glob_test(glob) == test


def test_of_output_that_was_cut_what_can_be_read_is_told() -> None:
    output = b"81a4 5 /w/a\n81a4 5 /w/b\n[... 10 bytes cut ...]\n81a4 7 /w/line\nbreak\n= /w\n"
    assert find_scripts.listing(output, ".") == "a (5 B)\nb (5 B)\nline (7 B)"
    assert find_scripts.matches(b"/w/a:1:x\n/w/b:nothing\n= /w\n", ".") == "a:1: x"
    assert find_scripts.matches(b"", ".") == "[no match]"
