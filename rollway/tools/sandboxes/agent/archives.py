"""Whole folders as archives, written and read in a command's place: as a process of its own."""

from __future__ import annotations

import os
import stat

from rollway.tools.sandboxes.agent.folders import clear_folder
from rollway.tools.sandboxes.agent.frames import PIECE
from rollway.tools.sandboxes.agent.workspace import Refused, Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Work = Callable[[], None]

CONTENT = "content"  # what a copied file or folder is called within its archive


def pack_work(workspace: Workspace, path: str, mode: str) -> Work:
    """Write ``path`` to stdout as an archive: files, folders, symbolic and hard links, nothing else."""

    def work() -> None:
        import tarfile

        names: dict[tuple[int, int], str] = {}  # in the archive, of files that have more names

        def add(folder: int, name: str, arcname: str) -> None:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            info = tarfile.TarInfo(arcname)
            info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
            if stat.S_ISLNK(found.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=folder)
                archive.addfile(info)
            elif stat.S_ISDIR(found.st_mode):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    for child in sorted(os.listdir(inner)):
                        add(inner, child, f"{arcname}/{child}")
                finally:
                    os.close(inner)
            elif (first := names.get((found.st_dev, found.st_ino))) is not None:
                info.type, info.linkname = tarfile.LNKTYPE, first
                archive.addfile(info)
            elif stat.S_ISREG(found.st_mode):
                if found.st_nlink > 1:
                    names[found.st_dev, found.st_ino] = arcname
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                with os.fdopen(file, "rb") as content:
                    info.size = os.fstat(file).st_size
                    archive.addfile(info, content)

        with os.fdopen(1, "wb", closefd=False) as out, tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
            workspace.at(path, lambda folder, name: add(folder, name, CONTENT))

    return work


def unpack_work(workspace: Workspace, path: str, mode: str, clear: bool) -> Work:
    """Read an archive from stdin and make ``path`` what is in it. ``clear``: it is a snapshot, and the
    workspace is emptied first, but for one that does not even begin as an archive."""

    def work() -> None:
        import tarfile
        import zlib

        try:
            read(tarfile)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            what = "this is not a snapshot" if clear else "this is not an archive"
            raise Refused(f"{what}: {error}") from error

    def read(tarfile: Any) -> None:
        links, folders = [], []
        with os.fdopen(0, "rb", closefd=False) as data, tarfile.open(fileobj=data, mode=mode) as archive:
            if clear:
                folder = os.open(workspace.folder, os.O_RDONLY | os.O_DIRECTORY)
                clear_folder(folder)
            for member in archive:
                if member.isdir():
                    folders.append(member)
                    workspace.at(target(member.name), _make_folder, make=True)
                elif member.issym():
                    links.append(member)
                elif member.islnk():
                    source = target(member.linkname)
                    workspace.at(target(member.name), _make_hard_link, workspace, source, make=True)
                elif member.isreg():
                    unpack_file(member, archive.extractfile(member))
        for member in links:  # last, so that nothing is written through one of them
            workspace.at(target(member.name), _make_link, member, make=True)
        for member in reversed(folders):  # last as well: a folder may be one that nothing can be written to
            workspace.at(target(member.name), _finish, member)

    def target(name: str) -> str:
        first, *rest = name.split("/")
        if first != CONTENT or ".." in rest:
            raise Refused(f"{'this is not a snapshot: ' if clear else ''}{name}: the name leads out")
        return "/".join([path, *rest]) if rest else path

    def unpack_file(member: Any, content: Any) -> None:
        name, offset = target(member.name), 0
        while (piece := content.read(PIECE)) or not offset:
            workspace.write(name, offset, piece, False)
            offset += len(piece)
            if not piece:
                break
        workspace.at(name, _finish, member)

    return work


def _make_folder(folder: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise


def _make_hard_link(folder: int, name: str, workspace: Workspace, source: str) -> None:
    def link(source_folder: int, source_name: str) -> None:
        os.link(source_name, name, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)

    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    workspace.at(source, link)


def _make_link(folder: int, name: str, member: Any) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    os.symlink(member.linkname, name, dir_fd=folder)
    os.utime(name, (member.mtime, member.mtime), dir_fd=folder, follow_symlinks=False)


def _finish(folder: int, name: str, member: Any) -> None:
    os.chmod(name, member.mode & 0o7777, dir_fd=folder)
    os.utime(name, (member.mtime, member.mtime), dir_fd=folder, follow_symlinks=False)
