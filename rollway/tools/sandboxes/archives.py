"""Tar archives of folders, read without trust: nothing is written outside of the target."""

from __future__ import annotations

import io
import posixpath
import shutil
import tarfile
from pathlib import Path
from typing import IO

from rollway.tools.sandboxes.protocol import SandboxFileError


def pack(folder: Path, archive: IO[bytes]) -> None:
    """Write the files, folders and symbolic links in ``folder``, links as links."""
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(folder, arcname=".", filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(archive: bytes, target: Path) -> None:
    """Write an archive's folder to ``target``, or the one file that it holds.

    Symbolic links are kept where they stay in the copy for certain, and left out otherwise, and so are
    devices and sockets.

    Raises:
        SandboxFileError: it is no tar archive, or a file of it cannot be written.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            members = [(member, _parts(member.name)) for member in tar]
            if len(members) == 1 and members[0][0].isreg():
                target.parent.mkdir(parents=True, exist_ok=True)
                _write_file(tar, members[0][0], target)
                return
            target.mkdir(parents=True, exist_ok=True)
            for member, parts in members:
                if parts is not None:
                    _write(tar, member, target, parts)
    except tarfile.TarError as error:
        raise SandboxFileError(f"{target}: no tar archive came ({error})") from error
    except OSError as error:
        raise SandboxFileError(f"{target}: {error.strerror}") from error


def _parts(name: str) -> list[str] | None:
    """The parts of a member's name; ``None`` for one that would lead out of the target."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if name.startswith("/") or ".." in parts else parts


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, parts: list[str]) -> None:
    place = target.joinpath(*parts)
    if any(target.joinpath(*parts[:i]).is_symlink() for i in range(1, len(parts))):
        return  # never through a link
    if parts and place.is_symlink():
        place.unlink()
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(member.mode & 0o777 | 0o700)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        if stays_inside(member.linkname, depth=len(parts) - 1):
            _clear(place)
            place.symlink_to(member.linkname)
    elif member.isreg() or member.islnk():
        _write_file(tar, member, place)


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    source = tar.extractfile(member)  # of a hard link: the content of the file that it names
    if source is None:
        return
    _clear(place)
    with place.open("xb") as file:
        shutil.copyfileobj(source, file)
    place.chmod(member.mode & 0o777 | 0o600)


def _clear(place: Path) -> None:
    if place.is_symlink() or place.is_file():
        place.unlink()


def stays_inside(link: str, *, depth: int) -> bool:
    """Does a link, ``depth`` folders below the top, stay under the top for certain?

    One that climbs only at its beginning, and no further than the top, does: the folders it climbs are real
    ones, and the links that it may meet afterwards are held to the same.
    """
    if link.startswith("/"):
        return False
    parts = [part for part in posixpath.join(link, "").split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    return climbs <= depth and ".." not in parts[climbs:]
