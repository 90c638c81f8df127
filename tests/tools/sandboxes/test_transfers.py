"""Files and folders that travel: into a sandbox, out of it, and as a snapshot, in every kind of sandbox."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rollway.tools.sandboxes import Sandbox, SandboxFileError
from rollway.tools.sandboxes.archives import Bounds

Opener = Callable[..., Awaitable[Sandbox]]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_folders_travel_both_ways(any_sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "big").write_bytes(os.urandom(2_500_000))
    (source / "run").write_text("#!/bin/sh\necho ran\n")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("deep/big")
    await any_sandbox.upload(source, "in/here")
    told = await any_sandbox.exec("in/here/run && readlink in/here/link")
    assert told.stdout == b"ran\ndeep/big\n"
    await any_sandbox.download("in/here", tmp_path / "back")
    assert (tmp_path / "back/deep/big").read_bytes() == (source / "deep/big").read_bytes()
    assert (tmp_path / "back/link").readlink() == Path("deep/big")
    assert os.access(tmp_path / "back/run", os.X_OK)
    assert not os.access(tmp_path / "back/deep/big", os.X_OK)


async def test_one_file_travels_both_ways(any_sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "run").chmod(0o755)
    await any_sandbox.upload(tmp_path / "run", "in/one")
    assert (await any_sandbox.exec(["in/one"])).stdout == b"ran\n"
    await any_sandbox.exec("ln -s in/one link")
    for name in ("in/one", "link"):
        await any_sandbox.download(name, tmp_path / "deep" / "back")
        assert (tmp_path / "deep" / "back").read_bytes() == (tmp_path / "run").read_bytes()
        assert os.access(tmp_path / "deep" / "back", os.X_OK)


async def test_a_link_of_ours_is_uploaded_as_what_it_leads_to(any_sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    (tmp_path / "link").symlink_to("folder")
    await any_sandbox.upload(tmp_path / "link", "in")
    assert await any_sandbox.read("in/file") == b"x"


async def test_a_file_with_two_names_has_both_wherever_it_goes(any_sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("x")
    os.link(tmp_path / "source" / "a", tmp_path / "source" / "b")
    await any_sandbox.upload(tmp_path / "source", "in")
    assert (await any_sandbox.exec("cat in/a in/b; ln in/a in/c; rm in/b")).stdout == b"xx"
    await any_sandbox.download("in", tmp_path / "back")
    (tmp_path / "back" / "a").write_text("y")
    assert (tmp_path / "back" / "c").read_text() == "x"
    assert names(tmp_path / "back") == ["a", "c"]


async def test_what_is_not_there_is_told_in_one_line(any_sandbox: Sandbox, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    told = {"nowhere": "No such file", "pipe": "not a regular file or folder", "loop": "loop"}
    for name, words in told.items():
        with pytest.raises(SandboxFileError, match=f"{tmp_path / name}: .*{words}"):
            await any_sandbox.upload(tmp_path / name, "x")
    await any_sandbox.exec("mkfifo pipe")
    for name in ("nothing", "pipe"):
        with pytest.raises(SandboxFileError, match=f"^{name}: "):
            await any_sandbox.download(name, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("ours")
    await any_sandbox.exec("mkdir folder")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SandboxFileError, match=f"^{tmp_path}/file.*: "):
            await any_sandbox.download("folder", place)
    assert (tmp_path / "file").read_text() == "ours"


async def test_no_link_and_no_device_leaves_with_a_copy_that_could_lead_out(
    any_sandbox: Sandbox, tmp_path: Path
) -> None:
    await any_sandbox.exec(
        "mkdir -p d/sub; cd d; ln -s . a; ln -s a/../x sly; ln -s /etc abs; ln -s ../.. up"
    )
    await any_sandbox.exec("cd d; echo x > x; ln -s x good; ln -s abs/passwd chained; mkfifo pipe")
    await any_sandbox.exec("cd d/sub; ln -s ../../.. up; ln -s ../good back")
    await any_sandbox.download("d", tmp_path / "copy")
    assert names(tmp_path / "copy") == ["a", "good", "sub", "sub/back", "x"]
    assert (tmp_path / "copy" / "sub" / "back").read_text() == "x\n"


async def test_no_more_comes_out_than_may(
    any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("agent_sandbox", "container_files"):
        monkeypatch.setattr(f"rollway.tools.sandboxes.{module}.Bounds", lambda: Bounds(bytes=1 << 20))
    await any_sandbox.exec("mkdir d; for i in 1 2 3 4 5; do head -c 300000 /dev/urandom > d/$i; done")
    with pytest.raises(SandboxFileError, match=r"^d: more than 1048576 bytes to copy out of the sandbox$"):
        await any_sandbox.download("d", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(SandboxFileError, match=r"more than 1048576 bytes to copy out"):
        await any_sandbox.snapshot()
    await any_sandbox.exec("rm d/4 d/5")
    await any_sandbox.download("d", tmp_path / "copy")
    assert names(tmp_path / "copy") == ["1", "2", "3"]


async def test_a_disk_of_ours_that_is_full_is_told_in_one_line(
    any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(bytes(100_000))
    await any_sandbox.exec("mkdir d; head -c 100000 /dev/zero > d/file")
    for module in ("agent_sandbox", "container_files"):
        name = f"rollway.tools.sandboxes.{module}.tempfile.TemporaryFile"
        monkeypatch.setattr(name, lambda: open("/dev/full", "r+b", buffering=0))  # noqa: SIM115
    for attempt in (
        any_sandbox.upload(tmp_path / "source", "in"),
        any_sandbox.download("d", tmp_path / "copy"),
    ):
        with pytest.raises(SandboxFileError, match=r"^[^\n]*: No space left on device$"):
            await attempt
    assert not (tmp_path / "copy").exists()


FILL = """
mkdir -p a/b shut; head -c 100000 /dev/urandom > a/b/f; chmod 600 a/b/f; ln a/b/f a/two
ln -s a/b in; ln -s /etc out
echo x > 'odd name
'; echo y > shut/f; chmod 555 shut; chmod 750 a; : > empty; echo z > .hid; mkdir .hidden
"""
LOOK = """
find a shut in out empty odd* .hid .hidden -exec stat -c '%n %a %F %h' {} + | grep -v directory | sort
find a shut .hidden -type d -exec stat -c '%n %a' {} + | sort; stat -c %Y a/b/f empty
find . | sort; readlink in; readlink out; cat a/b/f a/two shut/f empty odd* .hid | md5sum
"""


async def test_a_snapshot_gives_the_same_files_in_every_kind_of_sandbox(
    any_sandbox: Sandbox, kind: str, opened: Opener
) -> None:
    assert not (await any_sandbox.exec(FILL)).stderr
    before = await any_sandbox.exec(LOOK)
    assert (before.exit_code, before.stderr) == (0, b"")
    snapshot = await any_sandbox.snapshot()
    await any_sandbox.exec("chmod 755 shut; rm -rf a shut .hid*; ln -s /etc a; echo new > new; : > ..older")
    await any_sandbox.restore(snapshot)
    assert (await any_sandbox.exec(LOOK)).stdout == before.stdout
    other = await opened("local")
    await other.restore(snapshot)
    assert (await other.exec(LOOK)).stdout == before.stdout
    new = await opened(kind)
    await new.restore(await other.snapshot())
    assert (await new.exec(LOOK)).stdout == before.stdout


def snapshot_with(name: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    return archive.getvalue()


@pytest.mark.parametrize("snapshot", [b"", b"no archive at all", b"\x1f\x8b\x08" + bytes(100)])
async def test_what_is_no_snapshot_is_refused_and_changes_nothing(
    any_sandbox: Sandbox, snapshot: bytes
) -> None:
    await any_sandbox.write("file", b"x")
    with pytest.raises(SandboxFileError, match=r"^this is not a snapshot: "):
        await any_sandbox.restore(snapshot)
    assert (await any_sandbox.exec("ls -A; echo on")).stdout == b"file\non\n"


@pytest.mark.parametrize("name", ["content/../../out", "/out", "other/out"])
async def test_no_name_in_a_snapshot_leads_out(any_sandbox: Sandbox, name: str) -> None:
    with pytest.raises(SandboxFileError, match=f"^this is not a snapshot: {name}: the name leads out"):
        await any_sandbox.restore(snapshot_with(name))
    assert (await any_sandbox.exec("ls -A ..")).stdout.find(b"out") == -1


async def test_paths_may_be_texts_or_path_objects_on_both_sides(any_sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("x")
    await any_sandbox.upload(str(tmp_path / "ours"), Path("in/one"))
    await any_sandbox.write(Path("two"), b"y")
    assert await any_sandbox.read(Path("in/one")) + await any_sandbox.read("two") == b"xy"
    await any_sandbox.download(Path("in"), str(tmp_path / "back"))
    assert (tmp_path / "back" / "one").read_text() == "x"
