"""Sandboxes: where the commands and files of one rollout live, behind one protocol."""

from rollway.tools.sandboxes.opening import check_backend, open_sandbox
from rollway.tools.sandboxes.protocol import (
    ExecResult,
    Sandbox,
    SandboxError,
    SandboxFileError,
    SandboxLimitReached,
    SandboxProcess,
)
from rollway.tools.sandboxes.spec import Backend, Mount, SandboxChanges, SandboxLimits, SandboxSpec

__all__ = [
    "Backend",
    "ExecResult",
    "Mount",
    "Sandbox",
    "SandboxChanges",
    "SandboxError",
    "SandboxFileError",
    "SandboxLimitReached",
    "SandboxLimits",
    "SandboxProcess",
    "SandboxSpec",
    "check_backend",
    "open_sandbox",
]
