"""What comes out of a sandbox, read as a stranger's: the rules of tar archives, for every kind of sandbox.

An archive is looked at whole before anything is written. It is refused where it is damaged, where a name
leads out or stands for two things, where it is more than `Bounds` allow, and where a file is sparse (a few
bytes that become any number). Devices, pipes and sockets are left out. `unpacking` writes it to our disk.

The agent inside a sandbox has rules of its own (`agent/archives.py`), and so they stay: it must stand alone,
what it reads comes from us, and what it writes to can change under it at every step.
"""

from __future__ import annotations

import os
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from rollway.tools.sandboxes.protocol import SandboxFileError

MOST_HEADER = 1 << 20
"""Bytes of one header, all of which `tarfile` holds in memory."""

MOST_PATH = 4095
"""Bytes of a name or of a link's text, for the system itself."""


class Damaged(SandboxFileError):
    """It is no archive, or not a whole one. Whoever wrote it may know why."""


@dataclass(frozen=True)
class Bounds:
    """What may come out of a sandbox at once."""

    entries: int = 1_000_000  # files, folders, links, and what is left out
    bytes: int = 16 << 30  # of the archive, and of the files that it becomes


@dataclass(frozen=True, slots=True)
class Folder:
    mode: int
    mtime: int


@dataclass(frozen=True, slots=True)
class File:
    mode: int
    mtime: int
    offset: int  # of its content in the archive
    size: int
    same_as: str | None  # the file of the archive that it is a hard link to


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    text: str
    mtime: int


@dataclass(slots=True)
class Tree:
    """What an archive holds, by paths below its top, which is ``""``."""

    folders: dict[str, Folder | None] = field(default_factory=dict)  # None: known by what is in it alone
    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)

    def __contains__(self, path: str) -> bool:
        return path in self.folders or path in self.files or path in self.links


def read_tree(archive: IO[bytes], top: str, bounds: Bounds) -> Tree:
    """What a tar archive holds.

    Args:
        archive: a file that can be sought in.
        top: the name of the file or folder that was packed: one part; or ``"."``, where a single file is
            called as it likes.

    Raises:
        Damaged: it is no whole tar archive.
        SandboxFileError: it breaks another rule; the message names the entry.
    """
    tree, count, size = Tree(), 0, 0
    length = archive.seek(0, os.SEEK_END)
    with _opened(archive) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # else it keeps them all
            name, count = shown(member.name), count + 1
            if count > bounds.entries:
                raise SandboxFileError(f"{name}: more than {bounds.entries} files and folders")
            if member.issparse():
                raise SandboxFileError(f"{name}: a sparse file")
            if member.size < 0 or (member.isreg() and member.offset_data + member.size > length):
                raise Damaged(f"{name}: truncated")
            size += _add(member, _path_of(member.name, top), top, tree)
            if size > bounds.bytes:
                raise SandboxFileError(f"{name}: more than {bounds.bytes} bytes including this file")
        archive.seek(tar.offset)
        if archive.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise Damaged("it has no end")
    if "" in tree.links or not (tree.folders or tree.files or tree.links):
        raise SandboxFileError("it is empty")
    if top == "." and len(tree.files) == 1 and not tree.folders and not tree.links:
        tree.files = {"": next(iter(tree.files.values()))}
    _add_folders_between(tree)
    return tree


def _add(member: tarfile.TarInfo, path: str, top: str, tree: Tree) -> int:
    """Add an entry; how many bytes it takes where it is written."""
    if not (member.isdir() or member.isreg() or member.islnk() or member.issym()):
        return 0
    if path in tree:
        raise SandboxFileError(f"{shown(path)}: the name occurs twice")
    mode, mtime = member.mode & 0o7777, min(max(0, int(member.mtime)), 1 << 40)
    if member.isdir():
        tree.folders[path] = Folder(mode, mtime)
        return 0
    if member.issym():
        _check_name(member.linkname)
        tree.links[path] = Link(member.linkname, mtime)
        return 0
    if member.islnk():
        same_as = _path_of(member.linkname, top)
        if same_as not in tree.files:
            raise SandboxFileError(
                f"{shown(path)}: a hard link to {shown(same_as)}, which is not an earlier file"
            )
        origin = tree.files[same_as]
        tree.files[path] = File(mode, mtime, origin.offset, origin.size, same_as)
        return origin.size
    tree.files[path] = File(mode, mtime, member.offset_data, member.size, None)
    return member.size


def _path_of(name: str, top: str) -> str:
    """The path of an entry below the top."""
    _check_name(name)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    inside = not name.startswith("/") and ".." not in parts
    if top != ".":
        inside = inside and parts[:1] == [top]
        parts = parts[1:]
    if not inside:
        raise SandboxFileError(f"{shown(name)}: the name leads out of the copy")
    return "/".join(parts)


def _check_name(name: str) -> None:
    try:
        encoded = os.fsencode(name)
        possible = len(encoded) <= MOST_PATH and b"\0" not in encoded
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise SandboxFileError(f"{shown(name)}: invalid file name")


def _add_folders_between(tree: Tree) -> None:
    for path in [*tree.folders, *tree.files, *tree.links]:
        above = path
        while above:
            above = above.rpartition("/")[0]
            if above in tree.folders:
                break  # and so are those that it lies in, or they will be
            if above in tree:
                raise SandboxFileError(f"{shown(path)}: it is in {shown(above)}, which is not a folder")
            tree.folders[above] = None


def shown(name: str) -> str:
    """A stranger's name in a message of one line."""
    short = name if len(name) <= 200 else f"{name[:100]}...{name[-100:]}"
    return short if short.isprintable() and short else repr(short)


@contextmanager
def on_our_disk(path: str) -> Iterator[None]:
    """A temporary file for an archive: an error such as a full disk is reported for ``path``."""
    try:
        yield
    except OSError as error:
        raise SandboxFileError(f"{path}: cannot store an archive here: {error.strerror or error}") from error


@contextmanager
def _opened(archive: IO[bytes]) -> Iterator[Any]:
    """An archive by `tarfile`. Whatever that stumbles over, the archive is `Damaged`."""
    archive.seek(0)
    careful: Any = _Careful(archive)
    try:
        with tarfile.open(fileobj=careful, mode="r:") as tar:
            yield tar
    except (
        *(tarfile.TarError, EOFError, ValueError, ArithmeticError, LookupError),
        *(RecursionError, struct.error),
    ) as error:
        raise Damaged(f"it is not a tar archive ({error})") from error


class _Careful:
    """A file for `tarfile`, which reads nothing but headers here, and at once what a header asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self.tell, self.seek, self._read = file.tell, file.seek, file.read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._read(size)
