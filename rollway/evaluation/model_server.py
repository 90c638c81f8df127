"""The embedded policy on a server that lives as long as one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from rollway.errors import UserError
from rollway.evaluation.config import ModelConfig
from rollway.inference.launch import LaunchFailed, launch_embedded


@asynccontextmanager
async def starting_server(model: ModelConfig) -> AsyncIterator[asyncio.Task[str]]:
    """Start the server of ``model.policy``; awaiting the task gives its base URL. It ends with the block.

    Raises:
        UserError: (by the task) there is no such policy, or its server did not start.
    """
    assert model.policy is not None
    async with AsyncExitStack() as running:
        launch = launch_embedded(model.policy, tool_parser="hermes" if model.server_tool_parser else None)
        starting = asyncio.create_task(_entered(running, launch))
        await asyncio.sleep(0)  # the process begins here, and gets ready while others do their own starting
        try:
            yield starting
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)


async def _entered(stack: AsyncExitStack, launch: AbstractAsyncContextManager[str]) -> str:
    try:
        return await stack.enter_async_context(launch)
    except LaunchFailed as error:
        raise UserError(" ".join(str(error).split())) from None
