"""Forty sandboxes with hostile commands, and then nothing is left of them."""

from __future__ import annotations

import asyncio
import gc

from sandbox_traces import NOTHING, OurOwn, left_on_host

from rollway.tools.sandboxes import Sandbox, SandboxLimits, SandboxSpec, open_sandbox
from rollway.tools.sandboxes.orphans import owner_name

MIB = 1 << 20
SANDBOXES = 40
AT_ONCE = 8
HOSTILE = [
    ":(){ :|:& };:",
    "yes",
    "(setsid sleep 1000 &); sleep 1000 & disown; echo left",
    "kill -9 -1; sleep 1000",
    "kill -9 $PPID; sleep 1000",
    "head -c 10G /dev/zero > big; mkfifo pipe; ln -s / out",
    "python3 -c 'x = b\"x\" * (1 << 32)'",
    "trap '' TERM INT; while :; do :; done",
]


async def rollout(number: int, places: asyncio.Semaphore) -> None:
    limits = SandboxLimits(memory=256 * MIB, processes=32, file_size=8 * MIB, disk=32 * MIB, output=MIB)
    async with places:
        sandbox: Sandbox = await open_sandbox(SandboxSpec(limits=limits))
        try:
            await sandbox.exec(HOSTILE[number % len(HOSTILE)], timeout=0.3)
            assert (await sandbox.exec("echo on", timeout=60)).stdout == b"on\n"
            if number % 2:
                await sandbox.start(["sleep", "1000"])
        finally:
            await sandbox.close()


def test_nothing_is_left_of_hostile_rollouts(bubblewrap: None) -> None:
    async def all_of_them() -> None:
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(rollout(number, places) for number in range(SANDBOXES)))

    gc.collect()
    ours = OurOwn()
    asyncio.run(all_of_them())
    assert left_on_host(owner_name()) == NOTHING
    assert ours.threads() == []
    assert ours.descriptors() == []
    assert ours.children() == set()  # no zombie either
