"""Tar archives of folders, read without trust: nothing is written outside of the target."""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import IO, Literal

from rollway.tools.sandboxes.protocol import SandboxFileError

CONTENT = "content"
"""What a snapshot's folder is called, in every backend."""


def pack(folder: Path, archive: IO[bytes]) -> None:
    """Write the files, folders and symbolic links in ``folder``, links as links."""
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(folder, arcname=".", filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def repack(
    source: IO[bytes], target: IO[bytes], top: str, mode: Literal["w:", "w:gz"], *, opened: bool = False
) -> list[tarfile.TarInfo]:
    """Write an archive of a workspace once more, with ``top`` as the name of its folder.

    Args:
        opened: give every folder the right to be written to by its owner. A program that is run as root
            without root's rights locks itself out of the others before it has filled them.

    Returns:
        The folders whose rights were changed so, as they were; `write_folders` sets them right.

    Raises:
        SandboxFileError: it is no such archive.
    """
    shut = []
    try:
        with (
            tarfile.open(fileobj=source, mode="r:*") as old,
            tarfile.open(fileobj=target, mode=mode, format=tarfile.GNU_FORMAT) as new,
        ):
            for member in old:
                renamed = member.replace(name=_under(member.name, top), uid=0, gid=0, uname="", gname="")
                if member.isdir():
                    if opened and member.mode & 0o700 != 0o700:
                        shut.append(renamed)
                        renamed = renamed.replace(mode=member.mode | 0o700)
                    new.addfile(renamed)
                elif member.isreg():
                    new.addfile(renamed, old.extractfile(member))
                elif member.issym():
                    new.addfile(renamed)
                elif member.islnk():
                    new.addfile(renamed.replace(linkname=_under(member.linkname, top)))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise SandboxFileError(f"this is no snapshot: {error}") from error
    return shut


def write_folders(folders: list[tarfile.TarInfo], target: IO[bytes]) -> None:
    """Write an archive of folders alone, innermost first."""
    with tarfile.open(fileobj=target, mode="w:", format=tarfile.GNU_FORMAT) as tar:
        for folder in reversed(folders):
            tar.addfile(folder)


def _under(name: str, top: str) -> str:
    """A member's name below another top; its own top is ``.`` or that of the other backends."""
    parts = name.split("/")
    if parts[0] not in (".", CONTENT) or ".." in parts:
        raise SandboxFileError(f"this is no snapshot: it has a member {name!r}")
    return "/".join([top, *parts[1:]])


def unpack(archive: bytes, target: Path) -> None:
    """Write an archive's folder to ``target``, or the one file that it holds.

    Symbolic links are kept where they stay in the copy for certain, and left out otherwise with those that
    lead through them. Devices and sockets are left out as well.

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
            _drop_links_through([target.joinpath(*parts) for member, parts in members if parts], target)
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


def _drop_links_through(places: list[Path], target: Path) -> None:
    """Take away the links that lead through one that was left out."""
    kept = {place for place in places if place.is_symlink()}
    missing = {place for place in places if not os.path.lexists(place)}
    while through := {link for link in kept if missing & _ways(link)}:
        for link in through:
            link.unlink()
        kept -= through
        missing |= through


def _ways(link: Path) -> set[Path]:
    """The places that a link's text leads through, and to."""
    end = Path(os.path.normpath(link.parent / link.readlink()))
    return {end, *end.parents}


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
