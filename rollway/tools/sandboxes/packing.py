"""What goes into a sandbox: a local file or folder as a tar archive, for every backend.

It holds files, folders and symbolic links, which stay links, and says nothing of owners. A hard link becomes
a file of its own. Devices, pipes and sockets in a folder are left out.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import IO, Any

from rollway.tools.sandboxes.protocol import SandboxFileError


def source_of(source: Path) -> Path:
    """The file or folder itself, where ``source`` is a link to it.

    Raises:
        SandboxFileError: there is none.
    """
    try:
        real = source.resolve(strict=True)
    except OSError as error:
        raise SandboxFileError(f"{source}: {error.strerror}") from error
    except (RuntimeError, ValueError) as error:  # links in a circle, or no name for a file
        raise SandboxFileError(f"{source}: {error}") from error
    if not (real.is_file() or real.is_dir()):
        raise SandboxFileError(f"{source}: not a regular file or folder")
    return real


def pack(source: Path, archive: IO[bytes], top: str) -> None:
    """Write ``source`` to ``archive``, where it is called ``top``, and go back to the beginning of that.

    Raises:
        SandboxFileError: it is missing or cannot be read.
    """
    source = source_of(source)
    try:
        tar: Any
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:

            def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
                tar.inodes.clear()  # else a second name of a file becomes a hard link
                if not (member.isreg() or member.isdir() or member.issym()):
                    return None
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                return member

            tar.add(source, top, filter=plain)
    except OSError as error:
        raise SandboxFileError(f"{error.filename or source}: {error.strerror or error}") from error
    archive.seek(0)
