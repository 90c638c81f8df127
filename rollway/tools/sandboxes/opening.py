"""The one way to a sandbox: the spec names its backend, and what that cannot do is said before it starts."""

from __future__ import annotations

from typing import get_args

import msgspec

from rollway.errors import UserError, nearest
from rollway.tools.sandboxes.protocol import Sandbox
from rollway.tools.sandboxes.spec import MIB, Backend, SandboxLimits, SandboxSpec

LEAST_MEMORY = 64 * MIB
"""Below it a process can hardly load its libraries; a smaller number is most often one of megabytes."""


async def open_sandbox(spec: SandboxSpec) -> Sandbox:
    """Start a sandbox. Its caller closes it.

    Raises:
        UserError: the spec asks for what its backend, or this machine, cannot do.
        SandboxError: it could not be started.
    """
    _check_fields(spec)
    if spec.backend == "local":
        from rollway.tools.sandboxes.local import open_local

        return await open_local(spec)
    if spec.backend == "bubblewrap":
        from rollway.tools.sandboxes.bubblewrap import open_bubblewrap

        return await open_bubblewrap(spec)
    from rollway.tools.sandboxes.containers import open_container

    return await open_container(spec)


def check_backend(spec: SandboxSpec) -> None:
    """See that sandboxes of this kind can be had on this machine. May block for a second.

    Raises:
        UserError: they cannot; the message says why and what to do.
    """
    _check_fields(spec)
    if spec.backend == "bubblewrap":
        from rollway.tools.sandboxes.bubblewrap import check_bubblewrap

        check_bubblewrap(spec)
    elif spec.backend in ("docker", "podman"):
        from rollway.tools.sandboxes.container_engine import check_container_backend

        check_container_backend(spec)


def _check_fields(spec: SandboxSpec) -> None:
    backends = get_args(Backend)
    if spec.backend not in backends:
        raise UserError(
            f"unknown sandbox.backend {spec.backend!r}{nearest(str(spec.backend), backends)}; available: "
            f"{', '.join(backends)}"
        )
    _check_types(spec)
    in_container = spec.backend in ("docker", "podman")
    if in_container and spec.image is None:
        raise UserError(f"sandbox.image is required by the {spec.backend} backend")
    if spec.image is not None and not in_container:
        raise UserError(f"sandbox.image requires docker or podman, not {spec.backend}")
    if spec.limits.memory < LEAST_MEMORY:
        raise UserError(
            f"sandbox.limits.memory is in bytes, and {spec.limits.memory} is too few to start a shell; set "
            f"{LEAST_MEMORY} (64 MiB) or more"
        )
    for name in spec.environment:
        if not name or "=" in name or "\0" in name + spec.environment[name]:
            raise UserError(f"sandbox.environment: {name!r} is not a valid environment variable")
    unclear = next((path for path in spec.hidden if not path.startswith("/")), None)
    if unclear is not None:
        raise UserError(f"sandbox.hidden: {unclear!r} is not an absolute path")
    if spec.mounts and spec.backend == "local":
        raise UserError(
            "sandbox.mounts require a backend that isolates files, which local does not; upload files instead"
        )


def _check_types(spec: SandboxSpec) -> None:
    """A record's fields are not checked when it is made, and ``network="no"`` would be a network."""
    if not isinstance(spec.limits, SandboxLimits):
        raise UserError(f"sandbox.limits: give it as SandboxLimits(...), not {spec.limits!r:.80}")
    try:
        msgspec.convert(msgspec.to_builtins(spec), SandboxSpec)
    except (msgspec.ValidationError, TypeError) as error:
        words, _, place = str(error).replace("`", "").partition(" - at $.")
        raise UserError(f"sandbox.{place or 'mounts'}: {words}") from None
