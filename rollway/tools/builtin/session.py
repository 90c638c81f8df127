"""What the shell and the interpreter of a rollout share: one live process, one request after the other.

The process is started when it is first needed and again after it was lost; a rollout's requests wait for each
other, and that waiting counts against their time, so that none is ever cut off by the engine's own deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from rollway.tools.builtin.live_process import Answer, Ending, LiveProcess
from rollway.tools.context import Notes, RolloutContext
from rollway.tools.definition import ToolFailed
from rollway.tools.sandboxes.protocol import Sandbox, SandboxError, SandboxProcess

DEFAULT_TIMEOUT = 45.0  # seconds of one call; with what killing takes, below `Limits.tool_timeout`
SPARE_SECONDS = 5.0  # for killing what overran, and for telling the model what it had printed
NOT_FOUND = (126, 127)  # exit codes of what cannot be run or is not there, and of any command that likes
Start = Callable[[], Awaitable[SandboxProcess]]


class Session:
    """A rollout's shell or interpreter, between two calls."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.process: LiveProcess | None = None
        self.directory = ""  # where a shell stands
        self.status = 0  # of a shell's last command
        self.lost = False  # the process of the call before is gone, and the model does not know yet

    @classmethod
    def of(cls, notes: Notes, key: str) -> Session:
        """The rollout's session under ``key``, made when it is first asked for."""
        session = notes.get(key)
        if session is None:
            session = notes[key] = cls()
        assert isinstance(session, cls)
        return session

    async def turn(self, deadline: float, what: str) -> None:
        """Wait for the calls before this one; ``self.lock`` is held afterwards.

        Raises:
            ToolFailed: they took all the time.
        """
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self.lock.acquire()
        except TimeoutError:
            raise ToolFailed(f"Not run: earlier calls used all the time. Call {what} again.") from None

    async def live(self, start: Start) -> tuple[LiveProcess, bool]:
        """The process, and whether it was started just now."""
        if self.process is not None and not self.process.ended:
            return self.process, False
        self.lost = self.process is not None
        if self.process is not None:
            await self.process.close()
        self.process = LiveProcess(await start())
        return self.process, True

    def settle(self, answer: Answer) -> None:
        """Forget a process whose end the current result reports."""
        self.lost = False
        if answer.ending in (Ending.KILLED, Ending.ENDED):
            self.process = None


async def look_for(program: str, answer: Answer, sandbox: Sandbox) -> None:
    """See whether a process ended because its program is not there.

    Raises:
        SandboxError: it is not.
    """
    if answer.ending is not Ending.ENDED or answer.exit_code not in NOT_FOUND:
        return
    done = await sandbox.exec(["sh", "-c", 'command -v "$1"', "sh", program], timeout=10)
    if done.exit_code:
        raise SandboxError(f"it lacks {program}, which this tool needs; choose another image")


def seconds_below(tool_timeout: float) -> float:
    """How long a call may take that is to be answered before the engine gives it up."""
    return max(tool_timeout / 2, tool_timeout - SPARE_SECONDS)


def seconds_in(context: RolloutContext, seconds: float) -> float:
    """``seconds`` of a call, or what the rollout leaves of them."""
    bound = context.tool_timeout
    return seconds if bound is None else min(seconds, seconds_below(bound))


def allowed_seconds(asked: float | None, most: float) -> float:
    """How long a call may take.

    Raises:
        ToolFailed: the model asked for a time that cannot be had.
    """
    if asked is None:
        return most
    if not 0 < asked <= most:
        raise ToolFailed(f"Error: timeout must be above 0 and at most {most:g} seconds, got {asked:g}")
    return asked


def seconds_setting(timeout: float, tool: str) -> float:
    """A tool's own setting.

    Raises:
        ValueError: it is not positive.
    """
    if not timeout > 0:
        raise ValueError(f"{tool}: timeout must be positive, got {timeout}")
    return timeout
