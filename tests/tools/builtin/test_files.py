"""The file tools: what they show, what they keep, and that no path leads out of the workspace."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from rollway.tools import ExecutedCall, Tool
from rollway.tools.builtin import file_tools
from rollway.trajectory import ToolErrorKind

Run = Callable[..., Awaitable[str]]
Execute = Callable[..., Awaitable[ExecutedCall]]
READ, WRITE, EDIT, LIST, SEARCH = file_tools()


async def test_what_is_written_is_read(call: Run, workspace: Path) -> None:
    assert await call(WRITE, path="a/b.txt", content="one\ntwo ü\n") == "Wrote a/b.txt: 2 lines, 11 bytes."
    assert (workspace / "a/b.txt").read_text() == "one\ntwo ü\n"
    assert await call(READ, path="a/b.txt") == "one\ntwo ü"
    assert await call(READ, path="a/b.txt", numbered=True) == "     1\tone\n     2\ttwo ü"
    assert await call(READ, path=f"{workspace}/a/b.txt") == "one\ntwo ü"


async def test_a_page_of_a_long_file_says_how_to_go_on(call: Run, workspace: Path) -> None:
    (workspace / "long").write_text("".join(f"{n}\n" for n in range(1, 5001)))
    said = await call(READ, path="long", first_line=10, lines=2)
    assert said == "10\n11\n[lines 10 to 11 of 5000; continue with first_line=12]"
    assert (await call(READ, path="long")).endswith(
        "[lines 1 to 1000 of 5000; continue with first_line=1001]"
    )
    assert (await call(READ, path="long", first_line=5000)) == "5000\n[lines 5000 to 5000 of 5000]"
    assert "has 5000 lines; first_line is 5001" in await call(READ, path="long", first_line=5001)
    assert "must be at least 1" in await call(READ, path="long", first_line=0)


async def test_long_lines_are_cut_and_a_page_stays_below_what_the_engine_cuts(
    execute: Execute, workspace: Path
) -> None:
    (workspace / "wide").write_text(("x" * 5000 + "\n") * 100)
    done = await execute(READ, path="wide")
    assert done.result.truncated_from is None
    assert "[... 3000 characters cut]" in done.result.content
    assert "continue with first_line=" in done.result.content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "[f is empty]"),
        (b"\x7fELF\0\0", "f is a binary file (6 bytes)"),
        (b"a\r\nb\r\n", "a\nb"),
        (b"\xef\xbb\xbfa", "a"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\n", ""),
    ],
)
async def test_odd_files_are_read(call: Run, workspace: Path, content: bytes, told: str) -> None:
    (workspace / "f").write_bytes(content)
    assert told in await call(READ, path="f")


async def test_an_edit_keeps_everything_else(call: Run, workspace: Path) -> None:
    file = workspace / "f"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\xe9\r\n")
    assert await call(EDIT, path="f", old="one\ntwo", new="1\n2\n3") == "Edited f at line 1."
    assert file.read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n3\r\n\xe9\r\n"
    assert (
        await call(EDIT, path="f", old="\n", new="\n\n", all=True)
        == "Edited f at 4 places (lines 1, 3, 5, 7)."
    )


async def test_a_refused_edit_changes_nothing_and_is_an_error(execute: Execute, workspace: Path) -> None:
    (workspace / "f").write_text("a\na\n")
    done = await execute(EDIT, path="f", old="a", new="b")
    assert done.error is not None
    assert done.error.kind is ToolErrorKind.TOOL_REPORTED
    assert "2 times (lines 1, 2)" in done.result.content
    assert (workspace / "f").read_text() == "a\na\n"


async def test_edits_of_one_turn_never_lose_each_others_change(call: Run, workspace: Path) -> None:
    (workspace / "f").write_text("".join(f"line {n};\n" for n in range(20)))
    await asyncio.gather(*(call(EDIT, path="f", old=f"line {n};", new=f"changed {n};") for n in range(20)))
    assert (workspace / "f").read_text() == "".join(f"changed {n};\n" for n in range(20))


async def test_a_script_stays_executable(call: Run, workspace: Path) -> None:
    script = workspace / "run.sh"
    script.write_text("#!/bin/sh\necho a\n")
    script.chmod(0o755)
    await call(EDIT, path="run.sh", old="echo a", new="echo b")
    assert os.access(script, os.X_OK)
    await call(WRITE, path="run.sh", content="#!/bin/sh\necho c\n")
    assert os.access(script, os.X_OK)
    await call(WRITE, path="other.sh", content="#!/bin/sh\n")
    assert not os.stat(workspace / "other.sh").st_mode & 0o111


@pytest.fixture
def tree(workspace: Path) -> Path:
    for name in [
        "src/a.py",
        "src/deep/b.py",
        "src/deep/deeper/c.py",
        "README.md",
        ".git/HEAD",
        "node_modules/x/y.js",
    ]:
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(f"name = '{name}'\nx = 1\n")
    (workspace / "link").symlink_to("README.md")
    (workspace / "empty").mkdir()
    return workspace


async def test_files_are_listed_in_order_to_a_depth(call: Run, tree: Path) -> None:
    assert await call(LIST) == "\n".join(
        [
            ".git/ (not listed)",
            "README.md (25 B)",
            "empty/",
            "link (link)",
            "node_modules/ (not listed)",
            "src/",
            "src/a.py (24 B)",
            "src/deep/",
        ]
    )
    assert await call(LIST, path="src/deep", depth=1) == "src/deep/b.py (29 B)\nsrc/deep/deeper/"
    assert await call(LIST, path="empty") == "[empty is empty]"
    assert await call(LIST, path="README.md") == "README.md (25 B)"
    assert await call(LIST, path=".git") == ".git/HEAD (25 B)"
    assert "nothing does not exist" in await call(LIST, path="nothing")
    assert "depth must be at least 1" in await call(LIST, depth=0)


async def test_of_very_many_files_some_are_listed(call: Run, workspace: Path) -> None:
    for n in range(450):
        (workspace / f"f{n:03}").touch()
    said = await call(LIST)
    assert said.startswith("f000 (0 B)\n")
    assert said.endswith("[50 more; list one of its folders, or use a smaller depth]")


async def test_files_are_searched(call: Run, tree: Path) -> None:
    assert await call(SEARCH, pattern=r"^x = \d$", glob="*.py") == (
        "src/a.py:2: x = 1\nsrc/deep/b.py:2: x = 1\nsrc/deep/deeper/c.py:2: x = 1"
    )
    assert await call(SEARCH, pattern="name", path="src/deep", glob="deep/*.py") != "[no match]"
    assert await call(SEARCH, pattern="x", path="README.md") == "README.md:2: x = 1"
    assert await call(SEARCH, pattern="x = 1", glob="src/**/c.py") == "src/deep/deeper/c.py:2: x = 1"
    assert await call(SEARCH, pattern="nowhere") == "[no match]"
    assert "missing does not exist" in await call(SEARCH, pattern="x", path="missing")


async def test_a_bad_pattern_is_said_to_be_one_or_matches_itself(call: Run, tree: Path) -> None:
    for pattern in ("[a", "*", "a{2"):
        said = await call(SEARCH, pattern=pattern)
        assert "not a regular expression" in said or said == "[no match]", pattern
    assert "not a regular expression: " in await call(SEARCH, pattern="(")


async def test_odd_files_do_not_trouble_a_search(call: Run, workspace: Path) -> None:
    (workspace / "binary").write_bytes(b"needle\0needle\n" * 10)
    (workspace / "wide").write_text("needle " * 10_000)
    (workspace / "-rf").write_text("needle\n")
    (workspace / "a:1:b").write_text("needle\n")
    (workspace / "$(touch pwned)").write_text("needle\n")
    said = (await call(SEARCH, pattern="needle")).split("\n")
    assert [line[:15] for line in said] == [
        "$(touch pwned):",
        "-rf:1: needle",
        "a:1: b:1:needle",
        "wide:1: needle ",
    ]
    assert len(said[-1]) < 400
    assert not (workspace / "pwned").exists()
    assert await call(SEARCH, pattern="-needle") == "[no match]"


async def test_so_many_matches_are_shown(call: Run, workspace: Path) -> None:
    (workspace / "f").write_text("x\n" * 300)
    said = await call(SEARCH, pattern="x")
    assert said.startswith("f:1: x\nf:2: x\n")
    assert said.endswith("[100 more; narrow the pattern, the path or the glob]")


def arguments(tool: Tool, path: str) -> dict[str, str]:
    more = {
        "write_file": {"content": "x"},
        "edit_file": {"old": "root", "new": "x"},
        "search_files": {"pattern": "r"},
    }
    return {"path": path, **more.get(tool.name, {})}


@pytest.fixture
def outside(workspace: Path, tmp_path: Path) -> Path:
    """A folder with a secret, and links to both in the workspace."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("root secret\n")
    (workspace / "link").symlink_to(folder / "secret")
    (workspace / "folder").symlink_to(folder)
    (workspace / "a").mkdir()
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@pytest.mark.parametrize("tool", file_tools(), ids=lambda tool: tool.name)
async def test_no_path_leads_out_of_the_workspace(
    execute: Execute, workspace: Path, outside: Path, tool: Tool
) -> None:
    up = "/".join([".."] * (len(workspace.parts) - 1)) + str(outside)
    for path in (f"{up}/secret", f"{outside}/secret", "link", "folder/secret", f"a/../{up}/secret"):
        done = await execute(tool, **arguments(tool, path))
        assert done.error is not None, path
        assert done.error.kind is ToolErrorKind.TOOL_REPORTED
        assert "root secret" not in done.result.content
    assert contents(outside) == {"secret": "root secret\n"}


async def test_listing_and_searching_do_not_follow_links_out(call: Run, outside: Path) -> None:
    assert await call(LIST, depth=5) == "a/\nfolder (link)\nlink (link)"
    assert await call(SEARCH, pattern="secret") == "[no match]"


@pytest.fixture
def neighbour(workspace: Path) -> Iterator[Path]:
    """A folder beside the workspace, whose name begins like the workspace's."""
    folder = workspace.with_name(workspace.name + "-neighbour")
    folder.mkdir()
    yield folder
    folder.rmdir()


async def test_a_neighbour_of_the_workspace_is_outside(call: Run, neighbour: Path) -> None:
    assert "outside the workspace" in await call(LIST, path=str(neighbour))


@pytest.mark.parametrize("tool", file_tools(), ids=lambda tool: tool.name)
async def test_missing_odd_and_empty_paths_are_told(execute: Execute, tool: Tool) -> None:
    for path in ["nothing/here" if tool.name != "write_file" else "", "a\0b"]:
        done = await execute(tool, **arguments(tool, path))
        assert done.error is not None
        assert done.error.kind is ToolErrorKind.TOOL_REPORTED
        assert done.result.content.startswith("Error: ")
