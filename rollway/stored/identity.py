"""What a run was of, in ``identity.json`` of its directory: its environment's source and its model's weights.

The invariant: it says what the rollouts on record were made with. What has been mixed in since stands in
``allowed``, and is never taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rollway.errors import UserError
from rollway.whole_files import write_whole

IDENTITY_VERSION = 1

CHANGED_TASKS = "changed-tasks"
CHANGED_ENVIRONMENT = "changed-environment"
OTHER_WEIGHTS = "other-weights"
ALLOWANCES = (CHANGED_TASKS, CHANGED_ENVIRONMENT, OTHER_WEIGHTS)
"""What may be mixed into a run where somebody says so (``--allow-changed-tasks``, ...)."""


APPROVAL = "approval: "
"""How the names of the files of ``tools.approval.ask`` begin in `Identity.source`."""


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a server says that it serves. None: it does not say, or nobody asked."""

    id: str = ""
    root: str | None = None  # where the model's files lie: a folder of the server's, or a name on a hub
    max_model_len: int | None = None  # tokens of prompt and completion together
    weight_version: str | None = None
    folder: str | None = None  # digest of the files in the model's folder, where it is on this machine


class Allowed(msgspec.Struct, frozen=True):
    """Something else than what the run began with, mixed in because somebody said so."""

    what: str  # one of `ALLOWANCES`
    at: float  # Unix seconds
    told: str  # what had changed, in one line


class Sitting(msgspec.Struct, frozen=True):
    """A start of the run in which rollouts ran."""

    began: float  # Unix seconds; 0.0: the earlier ones of a run that an older version began
    seconds: float | None = None  # from its first job to its last outcome; None: it goes on, or was killed


class Identity(msgspec.Struct, kw_only=True):
    """What the rollouts on record were made with."""

    schema_version: int = IDENTITY_VERSION
    rollway: str = ""  # the version that began the run
    source: dict[str, str] = {}  # digests of the environment's files, and of the approval function's
    served: Served | None = None  # None: no model has been asked yet
    allowed: list[Allowed] = []  # in order of time
    sittings: list[Sitting] = []


def read_identity(run: Path) -> Identity | None:
    """The identity of a run; ``None``: it has none, since an older version of Rollway began it.

    Raises:
        UserError: it cannot be read.
    """
    file = run / "identity.json"
    try:
        identity = msgspec.json.decode(file.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        told = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(f"{file} cannot be read: {told}") from None
    if identity.schema_version != IDENTITY_VERSION:
        raise UserError(
            f"{file} has version {identity.schema_version}; this version reads {IDENTITY_VERSION}"
        )
    return identity


def write_identity(run: Path, identity: Identity) -> None:
    """Raises `OSError` when it cannot be written; the old one is then as it was."""
    write_whole(run / "identity.json", msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")


def changed_files(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The names of files that are not what they were, each with what became of it."""
    changed = [f"{name} changed" for name in before if name in now and before[name] != now[name]]
    gone = [f"{name} is gone" for name in before if name not in now]
    return changed + gone + [f"{name} is new" for name in now if name not in before]


def some_of(told: Sequence[str]) -> str:
    """The first few, in one line."""
    more = f", and {len(told) - 3} more" if len(told) > 3 else ""
    return ", ".join(told[:3]) + more
