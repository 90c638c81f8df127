"""The `bubblewrap` backend."""

from __future__ import annotations

from rollway.errors import UserError
from rollway.tools.sandboxes.agent_sandbox import AgentSandbox
from rollway.tools.sandboxes.spec import SandboxSpec


async def open_bubblewrap(spec: SandboxSpec) -> AgentSandbox:
    raise UserError("the bubblewrap backend is not there yet; choose backend local")


def check_bubblewrap(spec: SandboxSpec) -> None:
    raise UserError("the bubblewrap backend is not there yet; choose backend local")
