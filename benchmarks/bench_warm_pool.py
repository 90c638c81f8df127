"""The warm pool: how long a rollout waits for its sandbox, with none ready and with some ready ahead."""

from __future__ import annotations

import asyncio
import resource

from rollway.errors import UserError
from rollway.tools.sandboxes import SandboxSpec, check_backend
from rollway.tools.sandboxes.warm_pool import SandboxPool, SandboxPoolStats

ROLLOUTS = 40
AT_ONCE = 4
READY = 4
TURN = 0.25  # seconds that the model takes, in which the pool makes the next ones


def spec() -> SandboxSpec:
    try:
        check_backend(SandboxSpec())
    except UserError as error:
        print(f"the local backend in place of bubblewrap: {error}")
        return SandboxSpec(backend="local")
    return SandboxSpec()


async def waits(warm: int) -> tuple[SandboxPoolStats, float]:
    """What the pool counted over some rollouts, and the CPU seconds of us and of the sandboxes."""
    places = asyncio.Semaphore(AT_ONCE)
    before = _cpu()
    async with SandboxPool(spec(), warm=warm) as pool:

        async def rollout() -> None:
            async with places, pool.sandbox() as sandbox:
                await asyncio.sleep(TURN)
                await sandbox.exec(["true"])

        while pool.stats().ready < warm:
            await asyncio.sleep(0.001)
        await asyncio.gather(*(rollout() for _ in range(ROLLOUTS)))
        stats = pool.stats()
    return stats, _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main(_: list[str]) -> None:
    cold, cold_cpu = asyncio.run(waits(0))
    ready, ready_cpu = asyncio.run(waits(READY))
    for name, stats, cpu in (("none ready", cold, cold_cpu), (f"{READY} kept ready", ready, ready_cpu)):
        print(
            f"{name:33} {stats.wait_p50 * 1e3:8.2f} ms from acquire to a sandbox (median), "
            f"{stats.wait_p90 * 1e3:.2f} ms (p90); {cpu / ROLLOUTS * 1e3:.0f} ms CPU a rollout"
        )
    print(f"ratio of the medians              {cold.wait_p50 / max(ready.wait_p50, 1e-6):8.0f}")
