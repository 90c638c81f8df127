"""The data section of a config: rows that take the place of the environment's own tasks.

The invariant: in a run's ``config.yaml`` it says which data it was, so that a resume over other rows is
refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rollway.data.source import is_path
from rollway.evaluation.config.section import Section


class DataConfig(Section, frozen=True, kw_only=True):
    """Which rows. ``fingerprint`` is filled in when the run begins, and ``revision`` with a commit."""

    source: str  # a file, a folder, or a dataset's name on the Hub
    name: str | None = None  # of the Hub dataset's configuration
    split: str | None = None  # of the data; null: the run's
    revision: str | None = None  # of the Hub dataset: a branch, a tag or a commit; null: what is there now
    fingerprint: str | None = None  # of the files, as the run found them


def data_section(value: Any) -> Any:
    """Plain values of the section; a text is its ``source``."""
    return {"source": value} if isinstance(value, str) else value


def absolute_source(source: str) -> str:
    """A path that means the same from any folder; a name on the Hub as it is."""
    return str(Path(source).expanduser().resolve()) if is_path(source) else source
