"""Writes what came out of a sandbox to our disk: below the target and nowhere else, never through a link.

A symbolic link is kept where it stays in the copy for certain, also after a further copy to the same place:
it may climb out of real folders of the copy, no further than the top, and not behind anything else. One that
leads through a link which is left out is left out with it. A hard link becomes a file of its own. Nobody but
its owner gets the right to write to a file, whatever it was in the sandbox.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

from rollway.tools.sandboxes.archives import Bounds, File, Tree, read_tree
from rollway.tools.sandboxes.protocol import SandboxFileError

PIECE = 1 << 20  # bytes that are copied at once


def unpack(archive: IO[bytes], target: Path, top: str, bounds: Bounds | None = None) -> None:
    """Make ``target`` what is in an archive: a folder, which keeps what else is in it, or one file.

    Args:
        top: as of `archives.read_tree`.

    Raises:
        Damaged: it is no whole archive; nothing was written.
        SandboxFileError: it breaks another rule, and nothing was written; or ``target`` cannot be written.
    """
    try:
        tree = read_tree(archive, top, bounds or Bounds())
    except SandboxFileError as error:
        raise type(error)(f"{target}: rejected the archive from the sandbox: {error}") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(archive, tree, target)
    except OSError as error:
        raise SandboxFileError(f"{error.filename or target}: {error.strerror or error}") from error


def _write(archive: IO[bytes], tree: Tree, target: Path) -> None:
    for path in sorted(tree.folders, key=len):  # each after those that it lies in
        if path and (target / path).is_symlink():  # the target itself is ours, and may be a link
            (target / path).unlink()
        (target / path).mkdir(exist_ok=True)
    for path, file in tree.files.items():
        _write_file(archive, file, target / path)
    for path in kept_links(tree):
        (target / path).unlink(missing_ok=True)
        (target / path).symlink_to(tree.links[path].text)
    for path, folder in tree.folders.items():
        if folder is not None:
            (target / path).chmod(folder.mode & 0o755 | 0o700)


def _write_file(archive: IO[bytes], file: File, place: Path) -> None:
    place.unlink(missing_ok=True)  # never a folder: links that were kept may count on it
    new = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(new, "wb") as out:
        archive.seek(file.offset)
        left = file.size
        while left:
            piece = archive.read(min(PIECE, left))
            if not piece:
                raise OSError(errno.EIO, "the archive was truncated")
            out.write(piece)
            left -= len(piece)
        os.fchmod(new, file.mode & 0o755 | 0o400)


def kept_links(tree: Tree) -> list[str]:
    """The symbolic links that stay in the copy for certain."""
    through: dict[str, list[str]] = {}  # by the first place on their way that is no folder of the copy
    left_out = []
    for path, link in tree.links.items():
        try:
            if stop := _first_stop(path, link.text, tree):
                through.setdefault(stop, []).append(path)
        except _LeadsOut:
            left_out.append(path)
    dropped = set()
    while left_out:
        path = left_out.pop()
        if path not in dropped:
            dropped.add(path)
            left_out += through.get(path, [])
    return [path for path in tree.links if path not in dropped]


class _LeadsOut(Exception):
    """Of the copy, or perhaps."""


def _first_stop(path: str, text: str, tree: Tree) -> str | None:
    """The first place on a link's way that is no folder of the copy, if there is one."""
    if text.startswith("/") or not text:
        raise _LeadsOut
    here, stop = path.split("/")[:-1], None
    for part in text.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if stop is not None or not here:
                raise _LeadsOut
            here.pop()
        elif stop is None:
            here.append(part)
            place = "/".join(here)
            stop = None if place in tree.folders else place
    return stop
