"""Is the Ray that a run is connected to still there?

Ray answers a call that needs a dead cluster with silence, and ends this process itself, without a word to it,
once the head of the cluster has been away for a minute. What says so earlier are two ports: that of the node
that this process is connected to, which nobody gets again, and that of the head, which may come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

REFUSED = "nobody listens"


class PresenceTimes(msgspec.Struct, frozen=True):
    """Seconds."""

    between: float = 2.0  # two looks
    node: float = 3.0  # nobody listens at the node's port for so long: it is gone
    head: float = 30.0  # and at the head's; also when nothing is heard of either, as of a machine that is off
    answer: float = 5.0  # one look may take


class Part(msgspec.Struct, frozen=True):
    """What a run needs of Ray."""

    name: str
    host: str
    port: int
    refused: float  # seconds without anybody who listens, until it is gone


def parts_needed(times: PresenceTimes) -> list[Part]:
    """The node that this process is connected to, and the head of its cluster, where Ray tells of them."""
    return [*_own_node(times), *_head(times)]


def _own_node(times: PresenceTimes) -> Iterator[Part]:
    import ray

    own = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == own and node["NodeManagerPort"]:
            yield Part("node", node["NodeManagerAddress"], node["NodeManagerPort"], times.node)


def _head(times: PresenceTimes) -> Iterator[Part]:
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    if port.isdigit():
        yield Part("head", host.strip("[]"), int(port), times.head)


async def until_gone(parts: Sequence[Part], times: PresenceTimes) -> str:
    """Wait until one of ``parts`` is gone. What is to be told of it.

    One that never answered, as from outside of the cluster's network, is never taken to be gone.
    """
    watches = [asyncio.create_task(_until_gone(part, times)) for part in parts]
    if not watches:
        await asyncio.Event().wait()
    try:
        ended, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        return ended.pop().result()
    finally:
        for watch in watches:
            watch.cancel()


async def _until_gone(part: Part, times: PresenceTimes) -> str:
    loop = asyncio.get_running_loop()
    if await look(part, times) != "":
        await asyncio.Event().wait()
    answered = loop.time()
    while True:
        await asyncio.sleep(times.between)
        words = await look(part, times)
        if words == "":
            answered = loop.time()
        elif loop.time() - answered >= (part.refused if words == REFUSED else times.head):
            return f"Ray is gone: {words} at {part.host}:{part.port}, where its {part.name} was"


async def look(part: Part, times: PresenceTimes) -> str:
    """What is wrong with it; "" when somebody listens there."""
    try:
        async with asyncio.timeout(times.answer):
            _, writer = await asyncio.open_connection(part.host, part.port)
    except ConnectionRefusedError:
        return REFUSED
    except OSError as error:  # a timeout is one, too
        return f"no answer ({error.strerror or 'timed out'})"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return ""
