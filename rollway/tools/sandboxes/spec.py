"""What sandbox an environment wants. Data only, so that it travels to workers and stands in a config."""

from __future__ import annotations

from typing import Literal

import msgspec

Backend = Literal["local", "bubblewrap", "docker", "podman"]
MIB = 1 << 20


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one sandbox may use.

    Raises:
        ValueError: a limit is not positive.
    """

    memory: int = 1024 * MIB  # bytes: of each process, and of all together where the backend can count them
    processes: int = 128
    cpu_seconds: int = 600  # of each process
    file_size: int = 256 * MIB  # bytes of one file
    disk: int = 512 * MIB  # bytes of the workspace, where the backend can bound it
    open_files: int = 1024  # of each process
    output: int = 64 * MIB  # bytes that one command may write before it is killed

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"sandbox.limits.{name} must be positive, got {getattr(self, name)}")


class Mount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file or folder of the host that the sandbox sees."""

    source: str  # on the host, absolute
    target: str  # in the sandbox, absolute
    writable: bool = False


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of sandbox."""

    backend: Backend = "bubblewrap"
    limits: SandboxLimits = SandboxLimits()
    network: bool = False
    image: str | None = None  # docker and podman only: required there
    mounts: list[Mount] = []
    environment: dict[str, str] = {}  # variables of every command
