"""Removing a folder with all that is in it, whoever filled it."""

from __future__ import annotations

import errno
import os


def clear_folder(folder: int) -> None:
    """Remove all that is in an open folder, following no link. One folder is open at a time, and the way back
    is checked: nothing is nested too deep, and what is moved meanwhile leads nowhere else."""
    here = os.dup(folder)
    way = [("", os.fstat(here).st_ino, _subfolders(here))]  # name, inode, and what is still in it
    try:
        while way:
            name, _, left = way[-1]
            if left:
                there = os.open(left[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                way.append((left.pop(), os.fstat(there).st_ino, []))
                os.close(here)
                here = there
                way[-1][2].extend(_subfolders(here))
                continue
            way.pop()
            if way:
                above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = above
                if os.fstat(here).st_ino != way[-1][1]:
                    raise OSError(errno.EBUSY, "a folder was moved during its removal")
                os.rmdir(name, dir_fd=here)
    finally:
        os.close(here)


def _subfolders(folder: int) -> list[str]:
    """The folders in an open folder, whose files are removed."""
    return [name for name in os.listdir(folder) if _unlink(name, folder)]


def _unlink(name: str, folder: int) -> bool:
    """Remove a file; or make a folder one that can be emptied, and say True."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=folder)
        return True
    return False


def remove_folder(path: str) -> None:
    """Remove a folder and all in it, however deep, without following a link. One that is gone is no fault."""
    try:
        entry = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        os.chmod(f"/proc/self/fd/{entry}", 0o700)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    finally:
        os.close(entry)
    try:
        clear_folder(folder)
    finally:
        os.close(folder)
    os.rmdir(path)
