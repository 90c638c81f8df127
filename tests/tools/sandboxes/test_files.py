"""Files of a sandbox: whole, confined to the workspace, and never something that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.tools.sandboxes import Sandbox, SandboxFileError
from rollway.tools.sandboxes.agent.frames import Frames, order, to_json
from rollway.tools.sandboxes.agent.output import Kept
from rollway.tools.sandboxes.agent.workspace import Refused, Workspace

ESCAPES = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "out/passwd",
    "up/x",
    "to_file",
    "/workspace/../etc/passwd",
    "chain/x",
]


async def test_what_is_written_is_read(sandbox: Sandbox) -> None:
    data = os.urandom(3_000_001)
    await sandbox.write("a/b/c.bin", data)
    assert await sandbox.read("a/b/c.bin") == data
    assert await sandbox.read(f"{sandbox.workspace}/a/b/c.bin", max_bytes=10) == data[:10]
    await sandbox.write("a/b/c.bin", b"short")
    assert await sandbox.read("a/b/c.bin") == b"short"
    await sandbox.write("empty", b"")
    assert await sandbox.read("empty") == b""


async def test_a_script_can_be_run(sandbox: Sandbox) -> None:
    await sandbox.write("run.sh", b"#!/bin/sh\necho ran\n", executable=True)
    assert (await sandbox.exec(["./run.sh"])).stdout == b"ran\n"


@pytest.mark.parametrize("path", ESCAPES)
async def test_no_path_leads_out(sandbox: Sandbox, path: str, tmp_path: Path) -> None:
    await sandbox.exec("ln -s /etc out; ln -s .. up; ln -s /etc/passwd to_file; ln -s up chain; mkdir a")
    (tmp_path / "source").write_text("ours")
    with pytest.raises(SandboxFileError, match="leads out"):
        await sandbox.read(path)
    with pytest.raises(SandboxFileError, match="leads out"):
        await sandbox.write(path, b"x")
    with pytest.raises(SandboxFileError, match="leads out"):
        await sandbox.upload(tmp_path / "source", path)
    with pytest.raises(SandboxFileError, match="leads out"):
        await sandbox.download(path, tmp_path / "target")
    assert not (tmp_path / "target").exists()


async def test_links_within_the_workspace_are_followed(sandbox: Sandbox) -> None:
    await sandbox.write("real/file", b"x")
    await sandbox.exec(f"ln -s real way; ln -s {sandbox.workspace}/way/file whole; ln -s loop loop")
    assert await sandbox.read("way/file") == b"x"
    assert await sandbox.read("whole") == b"x"
    with pytest.raises(SandboxFileError, match="too many"):
        await sandbox.read("loop")


async def test_what_is_no_file_is_refused_and_nothing_hangs(sandbox: Sandbox) -> None:
    await sandbox.exec("mkfifo pipe; mkdir folder; chmod 0 folder")
    for path in ("pipe", "folder", "."):
        with pytest.raises(SandboxFileError, match=r"not a regular file|is a folder"):
            await sandbox.read(path)
        with pytest.raises(SandboxFileError, match=r"not a regular file|is a folder"):
            await sandbox.write(path, b"x")
    for path in ("missing", "a\0b", "x" * 5000, "\ud800", "missing/deep"):
        with pytest.raises(SandboxFileError):
            await sandbox.read(path)


async def test_a_file_over_the_limit_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxFileError, match="File too large"):
        await sandbox.write("big", b"x" * (9 << 20))
    assert (await sandbox.exec("echo on")).stdout == b"on\n"


async def test_a_write_that_reaches_a_limit_leaves_the_file_as_it_was(sandbox: Sandbox) -> None:
    await sandbox.write("kept", b"as it was", executable=True)
    with pytest.raises(SandboxFileError, match="File too large"):
        await sandbox.write("kept", b"x" * (9 << 20))
    assert await sandbox.read("kept") == b"as it was"
    assert (await sandbox.exec("ls -A")).stdout == b"kept\n"
    await sandbox.write("kept", b"y" * (3 << 20))
    assert (await sandbox.exec("test -x kept && wc -c <kept && ls -A")).stdout == b"3145728\nkept\n"


async def test_a_write_goes_through_a_link_and_keeps_what_may_not_be_written(sandbox: Sandbox) -> None:
    await sandbox.exec("echo old >real; ln -s real link; echo shut >shut; chmod 444 shut; id -u")
    await sandbox.write("link", b"new")
    assert (await sandbox.exec("readlink link && cat real")).stdout == b"real\nnew"
    if (await sandbox.exec("id -u")).stdout != b"0\n":
        with pytest.raises(SandboxFileError, match="Permission denied"):
            await sandbox.write("shut", b"open")


async def test_a_write_that_is_cancelled_leaves_nothing_behind(sandbox: Sandbox) -> None:
    writing = asyncio.create_task(sandbox.write("big", b"x" * (7 << 20)))
    while not (await sandbox.exec("ls -A")).stdout:
        await asyncio.sleep(0)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    assert (await sandbox.exec("ls -A")).stdout in (b"", b"big\n")


async def test_a_snapshot_keeps_every_time(sandbox: Sandbox) -> None:
    await sandbox.exec("mkdir -p a/b; : > a/b/f; ln -s f a/b/l; touch -hd @1000000000 a/b/l a/b/f a/b a")
    look = "find a -printf '%P %Ts\\n' | sort"
    before = (await sandbox.exec(look)).stdout
    assert before.count(b" 1000000000\n") == 4
    snapshot = await sandbox.snapshot()
    await sandbox.exec("rm -r a")
    await sandbox.restore(snapshot)
    assert (await sandbox.exec(look)).stdout == before


@settings(max_examples=40)
@given(st.lists(st.tuples(st.dictionaries(st.text(), st.integers()), st.binary(max_size=300))), st.data())
def test_frames_survive_any_cut(messages: list[tuple[dict[str, int], bytes]], data: st.DataObject) -> None:
    stream = b"".join(order(header, body) for header, body in messages)
    frames, found = Frames(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += frames.add(stream[:size])
        stream = stream[size:]
    assert [(marshal.loads(text), body) for text, body in found] == messages


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_a_header_is_json(value: object) -> None:
    assert json.loads(to_json({"key": value, 'odd "\\ key': 1.5})) == {"key": value, 'odd "\\ key': 1.5}


@given(st.lists(st.binary(max_size=200)), st.integers(0, 150))
def test_the_kept_part_is_the_beginning_and_the_end(pieces: list[bytes], limit: int) -> None:
    kept, whole = Kept(limit), b"".join(pieces)
    for piece in pieces:
        kept.add(piece)
    content = kept.content()
    if len(whole) <= limit:
        assert content == whole
    else:
        head = limit - limit // 2
        assert content == whole[:head] + whole[len(whole) - limit // 2 :]
    assert kept.total == len(whole)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["..", ".", "a", "b", "up", "out", "in", "abs", ""]), max_size=8))
def test_whatever_the_path_nothing_outside_is_reached(tmp_path: Path, parts: list[str]) -> None:
    root = tmp_path / "workspace"
    if not root.exists():
        (root / "a" / "b").mkdir(parents=True)
        (root / "a" / "up").symlink_to("../..")
        (root / "out").symlink_to(tmp_path)
        (root / "a" / "in").symlink_to("b/../..//workspace/a")
        (root / "abs").symlink_to(root / "a")
    inside = os.stat(root).st_dev, {os.stat(p).st_ino for p in (root, root / "a", root / "a" / "b")}
    try:
        found = Workspace(str(root)).at("/".join(parts), lambda folder, name: os.fstat(folder))
    except Refused:
        return
    assert (found.st_dev, found.st_ino in inside[1]) == (inside[0], True)
