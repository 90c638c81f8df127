"""The approval of a run's calls, made of its config: its rules, and the function of a user's file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from rollway.environments.loading import import_file
from rollway.errors import UserError
from rollway.evaluation.config import ApprovalConfig, EvalConfig
from rollway.tools.approval import ApprovalPolicy


def approval_policy(config: ApprovalConfig, source: str | None) -> ApprovalPolicy:
    """Make the policy.

    Args:
        source: the text of the function's file, for a machine that lacks it.

    Raises:
        UserError: there is no such file or function, or it cannot be asked.
    """
    ask = None if config.ask is None else _function(config.ask, source)
    return ApprovalPolicy(rules=config.rules, default=config.default, ask=ask, timeout=config.timeout)


def _function(spec: str, source: str | None) -> Any:
    """What ``file.py:function`` names."""
    file, name = _file_and_name(spec)
    found = getattr(import_file(file, source), name, None)
    if not callable(found):
        raise UserError(f"tools.approval.ask: {file} has no function {name!r}")
    try:
        inspect.signature(found).bind(None)
    except TypeError as error:
        raise UserError(
            f"tools.approval.ask: {name!r} in {file} must take one argument, an ApprovalRequest: {error}"
        ) from None
    except ValueError:  # one that does not tell what it takes
        pass
    return found


def _file_and_name(spec: str) -> tuple[Path, str]:
    file, _, name = spec.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UserError(f"tools.approval.ask: give it as path/to/file.py:function, not {spec!r}")
    return Path(file).expanduser(), name


def approval_source(config: EvalConfig) -> str | None:
    """The text of the approval function's file, for workers on machines that lack it.

    Raises:
        UserError: the file cannot be read.
    """
    approval = config.tools.approval
    if approval is None or approval.ask is None:
        return None
    path, _ = _file_and_name(approval.ask)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"tools.approval.ask: cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"tools.approval.ask: cannot read {path}: {error}") from None
