"""Files confined to the workspace.

A path is walked step by step, each folder on the way held open: nothing that changes meanwhile leads out.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

MAX_LINKS = 40  # symbolic links on the way of one path, as the kernel has it
MAX_DEPTH = 500  # folders on the way of one path


class Refused(Exception):
    """An operation that is not done; the message names the path and says why."""


class Workspace:
    """Files below one folder. A path is walked step by step, each folder held open, so that nothing which
    changes meanwhile leads out."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def at(self, path: str, action: Callable[..., _T], *given: object, make: bool = False) -> _T:
        """``action(open folder, name in it, *given)`` for what ``path`` names, which need not exist itself.

        ``make``: missing folders on the way are made. The name is ``"."`` for the workspace itself.
        """
        held: list[int] = []
        try:
            name = self._walk(path, held, make)
            return action(held[-1], name, *given)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        finally:
            for file in held:
                os.close(file)

    def _walk(self, path: str, held: list[int], make: bool) -> str:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
        held.append(os.open(self.folder, flags))
        parts = self._parts(path, path)
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                if len(held) == 1:
                    raise Refused(f"{path}: leads out of the workspace")
                os.close(held.pop())
                continue
            if _is_link(part, held[-1]):
                links += 1
                if links > MAX_LINKS:
                    raise Refused(f"{path}: too many symbolic links")
                target = os.readlink(part, dir_fd=held[-1])
                more = self._parts(target, path)
                if target.startswith("/"):
                    while len(held) > 1:
                        os.close(held.pop())
                parts.extend(more)
                continue
            if not parts:
                return part
            if len(held) > MAX_DEPTH:
                raise Refused(f"{path}: too many folders on the way")
            held.append(self._step(part, held[-1], flags, make))
        return "."

    def _parts(self, path: str, asked: str) -> list[str]:
        """The steps of a path, the last one first."""
        if "\0" in path:
            raise Refused(f"{path!r}: a null character")
        if path.startswith("/"):
            if path != self.folder and not path.startswith(self.folder + "/"):
                raise Refused(f"{asked}: leads out of the workspace {self.folder}")
            path = path[len(self.folder) :]
        return [part for part in reversed(path.split("/")) if part not in ("", ".")]

    @staticmethod
    def _step(part: str, folder: int, flags: int, make: bool) -> int:
        try:
            return os.open(part, flags, dir_fd=folder)
        except FileNotFoundError:
            if not make:
                raise
        try:
            os.mkdir(part, dir_fd=folder)
        except FileExistsError:
            pass
        return os.open(part, flags, dir_fd=folder)

    # What is done at a path.

    def read(self, path: str, offset: int, size: int) -> tuple[bytes, int]:
        """A piece of a regular file, and the size of the whole."""

        def action(folder: int, name: str) -> tuple[bytes, int]:
            self._look(path, folder, name)
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                found = _regular(path, os.fstat(file))
                return os.pread(file, size, offset), found.st_size
            finally:
                os.close(file)

        return self.at(path, action)

    def write(self, path: str, offset: int, data: bytes, executable: bool) -> None:
        """A piece of a file; the first one empties it."""

        def action(folder: int, name: str) -> None:
            try:
                self._look(path, folder, name)
            except FileNotFoundError:
                pass
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if offset else os.O_TRUNC)
            file = os.open(name, flags, 0o644, dir_fd=folder)
            try:
                _regular(path, os.fstat(file))
                if executable:
                    os.fchmod(file, 0o755)
                _write_all(file, data, offset)
            finally:
                os.close(file)

        self.at(path, action, make=True)

    def replace(
        self, path: str, offset: int, data: bytes, *, executable: bool, part: str, last: bool
    ) -> None:
        """A piece of a file that takes the place of what is there when the last one has come: a limit that is
        reached on the way leaves the file as it was.

        Args:
            part: the name, of this write alone, of what is not whole yet; it lies in the same folder.
        """

        def action(folder: int, name: str) -> None:
            try:
                before = self._writable(path, folder, name)
                flags = os.O_WRONLY | os.O_NOFOLLOW | (0 if offset else os.O_CREAT | os.O_EXCL)
                file = os.open(part, flags, 0o644, dir_fd=folder)
                try:
                    _write_all(file, data, offset)
                    if last and (executable or before is not None):
                        os.fchmod(file, 0o755 if executable or before is None else before & 0o7777)
                finally:
                    os.close(file)
                if last:
                    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _remove(part, folder)
                raise

        self.at(path, action, make=True)

    def drop(self, path: str, part: str) -> None:
        """Remove the pieces of a file that will never be whole."""
        self.at(path, lambda folder, name: _remove(part, folder))

    def _writable(self, path: str, folder: int, name: str) -> int | None:
        """The mode of what is there; ``None``: nothing is."""
        try:
            found = self._look(path, folder, name)
        except FileNotFoundError:
            return None
        if not os.access(name, os.W_OK, dir_fd=folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return found.st_mode

    def kind(self, path: str) -> str:
        """``"file"`` or ``"folder"``; anything else is refused."""

        def action(folder: int, name: str) -> str:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return "folder"
            _regular(path, found)
            return "file"

        return self.at(path, action)

    @staticmethod
    def _look(path: str, folder: int, name: str) -> os.stat_result:
        """Before a file is opened: opening a device may do something already."""
        return _regular(path, os.stat(name, dir_fd=folder, follow_symlinks=False))


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    done = 0
    while done < len(data):
        done += os.pwrite(file, view[done:], offset + done)


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass  # it is not there, or its folder is gone


def _regular(path: str, found: os.stat_result) -> os.stat_result:
    if stat.S_ISDIR(found.st_mode):
        raise Refused(f"{path}: is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path}: not a regular file")
    return found
