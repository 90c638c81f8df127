"""Sandboxes: where the commands and files of one rollout live, behind one protocol."""

from rollway.tools.sandboxes.protocol import (
    ExecResult,
    Sandbox,
    SandboxError,
    SandboxFileError,
    SandboxProcess,
)
from rollway.tools.sandboxes.spec import Mount, SandboxLimits, SandboxSpec

__all__ = [
    "ExecResult",
    "Mount",
    "Sandbox",
    "SandboxError",
    "SandboxFileError",
    "SandboxLimits",
    "SandboxProcess",
    "SandboxSpec",
]
