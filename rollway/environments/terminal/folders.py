"""A task folder as a record, whatever form it was written in.

The invariant: a folder that cannot be run just as its author meant it is refused with one line, before a run
starts; nothing of it is silently left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from rollway.errors import UserError


class TaskFolder(msgspec.Struct, frozen=True, kw_only=True):
    """One task."""

    id: str  # the folder's name
    path: Path
    form: Literal["harbor", "terminal-bench"]
    instruction: str
    check: Literal["here", "script"]  # tests/check.py, judged here; or a script, run in the sandbox
    agent_timeout: float | None = None  # seconds that a rollout may take; None: the run's own
    check_timeout: float = 600.0  # seconds
    image: str | None = None  # of the container; None: any sandbox will do
    directory: str | None = None  # where the image's Dockerfile puts its shell; None: the workspace
    memory: int | None = None  # bytes; None: the run's
    disk: int | None = None  # bytes; None: the run's
    network: bool = False
    keep_processes: bool = False  # the task asks for a service, which must run when it is checked
    environment: dict[str, str] = {}  # variables of every command
    check_environment: dict[str, str] = {}  # variables of the check, beside those
    metadata: dict[str, Any] = {}  # difficulty, category, tags


class Section:
    """A table of a configuration file, each key of which must be asked for before `end`."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, Mapping):
            raise UserError(f"{where}: expected a table, got {type(values).__name__}")
        self._values = dict(values)
        self.where = where

    def section(self, key: str) -> Section:
        """A table within this one; an empty one when it is missing."""
        return Section(self._values.pop(key, {}), f"{self.where}, [{key}]")

    def text(self, key: str) -> str | None:
        value = self._take(key, str, "a string")
        return None if value is None else str(value)

    def number(self, key: str) -> float | None:
        value = self._take(key, (int, float), "a number")
        if value is not None and (isinstance(value, bool) or value < 0):
            raise UserError(f"{self.where}: {key} must be a number of at least 0, got {value!r}")
        return None if value is None else float(value)

    def flag(self, key: str) -> bool | None:
        value = self._take(key, bool, "true or false")
        return None if value is None else bool(value)

    def strings(self, key: str) -> dict[str, str]:
        """A table of strings. A value that refers to a local variable (``${NAME}``) is an error."""
        table = self._values.pop(key, {})
        if not isinstance(table, Mapping):
            raise UserError(f"{self.where}: {key} must be a table")
        for name, value in table.items():
            if not isinstance(value, str) or "${" in value:
                raise UserError(
                    f"{self.where}: {key}.{name} must be a plain string: sandboxes get no variables of this "
                    "machine, so write the value into a copy of the task"
                )
        return dict(table)

    def table(self, key: str) -> dict[str, Any]:
        """A table of which nothing is read here."""
        value = self._values.pop(key, {})
        return dict(value) if isinstance(value, Mapping) else {}

    def list_of_tables(self, key: str) -> list[dict[str, Any]]:
        """A list, what is no table in it left out."""
        value = self._values.pop(key, None)
        return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []

    def ignore(self, *keys: str) -> None:
        """Keys that change nothing about how a task is run."""
        for key in keys:
            self._values.pop(key, None)

    def refuse(self, key: str, reason: str) -> None:
        """A key whose meaning is not offered; empty values are let through."""
        if self._values.pop(key, None) not in (None, 0, "", [], {}, False):
            raise UserError(f"{self.where}: {key} {reason}")

    def end(self) -> None:
        """Refuse what was not asked for."""
        if self._values:
            names = ", ".join(sorted(map(str, self._values)))
            raise UserError(f"{self.where}: cannot run a task with {names}: unknown")

    def _take(self, key: str, kind: Any, what: str) -> Any:
        value = self._values.pop(key, None)
        if value is not None and not isinstance(value, kind):
            raise UserError(f"{self.where}: {key} must be {what}, got {value!r}")
        return value


def read_text(path: Path) -> str:
    """A file of a task.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def read_toml(path: Path) -> Section:
    """A TOML file.

    Raises:
        UserError: it cannot be read, or is no TOML.
    """
    try:
        return Section(tomllib.loads(read_text(path)), str(path))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None


def read_yaml(path: Path) -> Any:
    """A YAML file.

    Raises:
        UserError: it cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {told}") from None
