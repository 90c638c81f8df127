"""What dead workers of this host left, whichever backend they used, is ended before the first start."""

from __future__ import annotations

import asyncio

from rollway.tools.sandboxes.spec import SandboxSpec


async def reap_dead_workers(spec: SandboxSpec) -> None:
    """End what dead workers left of sandboxes of this backend.

    Raises:
        UserError: its engine is not installed or does not run.
        SandboxError: it could not be looked for.
    """
    if spec.backend in ("docker", "podman"):
        from rollway.tools.sandboxes.container_orphans import reap_containers

        await reap_containers(spec.backend)
    else:
        from rollway.tools.sandboxes.orphans import reap_orphans_once

        await asyncio.to_thread(reap_orphans_once)
