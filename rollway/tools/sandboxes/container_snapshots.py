"""A container's workspace as a snapshot, which every kind of sandbox restores, and a snapshot as what ``tar``
unpacks in a container.

It goes by the rules of `archives`, but symbolic links stay as they are: they are the sandbox's own business.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zlib
from typing import IO

from rollway.tools.sandboxes.agent.archives import CONTENT
from rollway.tools.sandboxes.archives import Bounds, Folder, Tree, read_tree
from rollway.tools.sandboxes.protocol import SandboxFileError

PIECE = 1 << 20  # bytes that are decompressed at once


def snapshot_of(workspace: IO[bytes]) -> bytes:
    """The snapshot for an archive of a workspace.

    Raises:
        SandboxFileError: the archive breaks a rule.
    """
    tree = read_tree(workspace, ".", Bounds())
    with tempfile.TemporaryFile() as snapshot:
        with tarfile.open(fileobj=snapshot, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
            _write(tree, workspace, tar, CONTENT)
        snapshot.seek(0)
        return snapshot.read()


def workspace_of(snapshot: bytes, workspace: IO[bytes]) -> dict[str, Folder]:
    """Write the archive of a workspace for a snapshot, and go back to the beginning of it.

    Every folder in it may be written to by its owner. A program that is run as root without root's rights
    locks itself out of the others before it has filled them.

    Returns:
        The folders whose rights were changed so, as they were; `write_folders` sets them right.

    Raises:
        SandboxFileError: it is no snapshot.
    """
    with tempfile.TemporaryFile() as archive:
        try:
            _decompress(snapshot, archive)
            tree = read_tree(archive, CONTENT, Bounds())
        except (SandboxFileError, OSError, EOFError, zlib.error) as error:
            raise SandboxFileError(f"this is not a snapshot: {error}") from error
        shut = {
            path: folder for path, folder in tree.folders.items() if folder and folder.mode & 0o700 != 0o700
        }
        tree.folders |= {path: Folder(folder.mode | 0o700, folder.mtime) for path, folder in shut.items()}
        with tarfile.open(fileobj=workspace, mode="w:", format=tarfile.GNU_FORMAT) as tar:
            _write(tree, archive, tar, ".")
    workspace.seek(0)
    return shut


def write_folders(folders: dict[str, Folder], target: IO[bytes]) -> None:
    """Write an archive of folders alone, innermost first, and go back to the beginning of it."""
    with tarfile.open(fileobj=target, mode="w:", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(folders, key=len, reverse=True):
            tar.addfile(_entry(".", path, tarfile.DIRTYPE, folders[path].mode, folders[path].mtime))
    target.seek(0)


def _decompress(snapshot: bytes, archive: IO[bytes]) -> None:
    most = Bounds().bytes
    with gzip.open(io.BytesIO(snapshot)) as pieces:
        while piece := pieces.read(PIECE):
            archive.write(piece)
            if archive.tell() > most:
                raise SandboxFileError(f"it unpacks to more than {most} bytes")


def _write(tree: Tree, content: IO[bytes], tar: tarfile.TarFile, top: str) -> None:
    for path in sorted(tree.folders, key=len):
        if folder := tree.folders[path]:
            tar.addfile(_entry(top, path, tarfile.DIRTYPE, folder.mode, folder.mtime))
    for path, file in tree.files.items():
        if file.same_as is None:
            entry = _entry(top, path, tarfile.REGTYPE, file.mode, file.mtime)
            entry.size = file.size
            content.seek(file.offset)
            tar.addfile(entry, content)
        else:
            entry = _entry(top, path, tarfile.LNKTYPE, file.mode, file.mtime)
            entry.linkname = f"{top}/{file.same_as}"
            tar.addfile(entry)
    for path, link in tree.links.items():
        entry = _entry(top, path, tarfile.SYMTYPE, 0o777, link.mtime)
        entry.linkname = link.text
        tar.addfile(entry)


def _entry(top: str, path: str, kind: bytes, mode: int, mtime: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f"{top}/{path}" if path else top)
    entry.type, entry.mode, entry.mtime = kind, mode, mtime
    return entry
