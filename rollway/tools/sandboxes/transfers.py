"""Our side of copying files into and out of a sandbox, as tar archives.

What comes out is a stranger's: it is written below the target and nowhere else, never through a link, and
holds only files, folders, and links that stay within the copy.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from rollway.tools.sandboxes.agent.archives import CONTENT
from rollway.tools.sandboxes.agent.frames import PIECE
from rollway.tools.sandboxes.protocol import SandboxFileError


class Truncated(Exception):
    """An archive ends too early: whoever wrote it knows why."""


async def packed(source: Path) -> AsyncIterator[bytes]:
    """The pieces of an archive of a file or folder of ours. Links within a folder stay links.

    Raises:
        SandboxFileError: ``source`` is missing or cannot be read.
    """
    with tempfile.TemporaryFile() as archive:
        await asyncio.to_thread(_pack, source, archive)
        while piece := archive.read(PIECE):
            yield piece


def _pack(source: Path, archive: IO[bytes]) -> None:
    try:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(source.resolve(strict=True), CONTENT, filter=_plain)
    except OSError as error:
        raise SandboxFileError(f"{source}: {error.strerror}") from error
    archive.seek(0)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (member.isreg() or member.isdir() or member.issym()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


async def unpack(pieces: AsyncIterator[bytes], target: Path) -> None:
    """Write an archive of the agent's to ``target``.

    Raises:
        SandboxFileError: the archive holds what it must not, or ``target`` cannot be written.
        Truncated: the archive ends too early.
    """
    with tempfile.TemporaryFile() as archive:
        async for piece in pieces:
            archive.write(piece)
        archive.seek(0)
        await asyncio.to_thread(_unpack, archive, target)


def _unpack(archive: IO[bytes], target: Path) -> None:
    links: list[tuple[Path, str]] = []
    folders: list[tuple[Path, int]] = []
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for member in tar:
                path = _path_of(member, target)
                path.parent.mkdir(parents=True, exist_ok=True)
                if member.isdir():
                    path.mkdir(exist_ok=True)
                    folders.append((path, member.mode))
                elif member.isreg():
                    _write(path, tar.extractfile(member), member.mode)
                elif member.issym():
                    links.append((path, member.linkname))
                else:
                    raise SandboxFileError(f"{member.name}: no file, folder or link")
    except (tarfile.ReadError, EOFError) as error:
        raise Truncated(str(error)) from error
    except OSError as error:
        raise SandboxFileError(f"{target}: {error.strerror or error}") from error
    _make_links(links, target)
    for path, mode in reversed(folders):
        path.chmod(mode & 0o777 | 0o700)


def _path_of(member: tarfile.TarInfo, target: Path) -> Path:
    first, *rest = member.name.split("/")
    if first != CONTENT or any(part in ("", ".", "..") for part in rest):
        raise SandboxFileError(f"{member.name}: a strange name in an archive")
    return target.joinpath(*rest)


def _write(path: Path, content: IO[bytes] | None, mode: int) -> None:
    assert content is not None
    if path.is_symlink():
        path.unlink()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "wb") as out:
        while piece := content.read(PIECE):
            out.write(piece)
        os.fchmod(file, mode & 0o777)


def _make_links(links: list[tuple[Path, str]], target: Path) -> None:
    """Make the links, now that nothing is written any more, and take those away that lead out."""
    for path, destination in links:
        path.unlink(missing_ok=True)
        path.symlink_to(destination)
    root = Path(os.path.realpath(target))
    kept = [path for path, _ in links]
    while leading_out := [path for path in kept if not _stays(path, root)]:
        for path in leading_out:
            path.unlink()
            kept.remove(path)


def _stays(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)
