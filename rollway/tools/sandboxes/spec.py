"""What sandbox an environment wants. Data only, so that it travels to workers and stands in a config."""

from __future__ import annotations

from typing import Literal

import msgspec

Backend = Literal["local", "bubblewrap", "docker", "podman"]
MIB = 1 << 20


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one sandbox may use.

    Raises:
        ValueError: a limit is no whole number, or not positive.
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
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"sandbox.limits.{name} must be a whole number, got {value!r}")
            if value <= 0:
                raise ValueError(f"sandbox.limits.{name} must be positive, got {value}")


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
    hidden: list[str] = []  # files and folders of the host that no command may see; local cannot hide any


class SandboxChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run wants otherwise than the environment; ``None`` leaves it as it is."""

    backend: Backend | None = None
    limits: dict[str, int] = {}  # fields of `SandboxLimits`
    network: bool | None = None
    image: str | None = None
    mounts: list[Mount] | None = None
    environment: dict[str, str] | None = None

    def __post_init__(self) -> None:
        unknown = next((name for name in self.limits if name not in SandboxLimits.__struct_fields__), None)
        if unknown is not None:
            known = ", ".join(SandboxLimits.__struct_fields__)
            raise ValueError(f"sandbox.limits has no field {unknown!r}; it has {known}")
        SandboxLimits(**self.limits)

    def applied(self, spec: SandboxSpec) -> SandboxSpec:
        """``spec`` with these changes. An image is kept for container backends only."""
        given = {
            name: getattr(self, name)
            for name in ("backend", "network", "image", "mounts", "environment")
            if getattr(self, name) is not None
        }
        if self.limits:
            given["limits"] = msgspec.structs.replace(spec.limits, **self.limits)
        if given.get("backend", spec.backend) in ("local", "bubblewrap"):
            given["image"] = None
        return msgspec.structs.replace(spec, **given) if given else spec
