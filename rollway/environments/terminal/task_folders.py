"""Finding task folders and reading them, in whichever of the two forms each is.

All of them are read before a run starts, so that an unsupported task is reported then, in one line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from rollway.environments.terminal import harbor, terminal_bench
from rollway.environments.terminal.folders import TaskFolder
from rollway.errors import UserError

SHIPPED = Path(__file__).parent / "tasks"
"""The tasks that come with the package."""

SPLITS = ("train", "test")

_log = logging.getLogger(__name__)


def folders_of(path: Path, split: str) -> list[Path]:
    """The task folders of a split, by name. A folder with subfolders ``train`` and ``test`` has these as its
    splits; all tasks of any other are of the split ``test``.

    Raises:
        ValueError: there is no such split.
        UserError: the path is no folder, or holds no task of that split.
    """
    if not path.is_dir():
        raise UserError(f"no folder {path}; set environment_args path to a folder of task folders")
    split_folders = {
        name: path / name for name in SPLITS if (path / name).is_dir() and not is_task(path / name)
    }
    known = list(split_folders) or ["test"]
    if split not in known:
        raise ValueError(f"{path.name} has no split {split!r}; it has {' and '.join(map(repr, known))}")
    in_both = set.intersection(*({entry.name for entry in tasks_in(path / name)} for name in SPLITS))
    if in_both:
        raise UserError(f"{path}: train and test both have a task {min(in_both)}; rename one of them")
    within = split_folders.get(split, path)
    found = tasks_in(within)
    if not found:
        raise UserError(
            f"no tasks in {within}; a task is a folder with {harbor.MARK} or {terminal_bench.MARK}"
        )
    return found


def ids_in(path: Path) -> set[str]:
    """The names of all tasks, of whichever split."""
    return {folder.name for part in (path, *(path / split for split in SPLITS)) for folder in tasks_in(part)}


def tasks_in(folder: Path) -> list[Path]:
    """The task folders that lie directly in a folder, by name."""
    return [entry for entry in sorted(folder.iterdir()) if is_task(entry)] if folder.is_dir() else []


def is_task(folder: Path) -> bool:
    return (folder / harbor.MARK).is_file() or (folder / terminal_bench.MARK).is_file()


def read_folder(folder: Path, *, images: Mapping[str, str], trusted: bool) -> TaskFolder:
    """Read one task. ``trusted``: may its check run outside of the sandbox?

    Raises:
        UserError: it cannot be run as it is.
    """
    if (folder / harbor.MARK).is_file():
        task = harbor.read_harbor(folder, images=images, here=trusted)
    else:
        task = terminal_bench.read_terminal_bench(folder, images=images)
    if not task.instruction:
        raise UserError(f"task {task.id}: its instruction is empty")
    return task


def read_folders(
    folders: list[Path], *, images: Mapping[str, str], trusted: bool, skip_unsupported: bool
) -> list[TaskFolder]:
    """Read all tasks.

    Raises:
        UserError: one of them cannot be run (without ``skip_unsupported``), or none can.
    """
    read: list[TaskFolder] = []
    refused: list[str] = []
    for folder in folders:
        try:
            read.append(read_folder(folder, images=images, trusted=trusted))
        except UserError as error:
            refused.append(str(error))
    if refused and (not skip_unsupported or not read):
        others = f" ({len(refused)} of {len(folders)} tasks cannot be run)" if len(folders) > 1 else ""
        raise UserError(f"{refused[0]}{others}; environment_args skip_unsupported: true skips such tasks")
    for told in refused:
        _log.warning("skipped: %s", told)
    return read
