"""The tools of the chaos environment, one for each way in which a tool runs.

The invariant: a tool answers from its key alone. Where the machine fails it by lot, it does so once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time

from rollway.chaos.faults import Plan
from rollway.chaos.marks import Marks
from rollway.chaos.script import HANG, KEEP, REFUSE, answer_of
from rollway.tools import Sandbox, Tool, tool

WAIT_SECONDS = 0.02  # that the slow tools take

KILL_AGENT = "kill -9 $(cut -d ' ' -f 4 /proc/$PPID/stat)"
"""Ends a local sandbox from within: a command's parent is its supervisor, and that one's is the agent."""


class ChaosTools:
    """Tools that share a plan. It travels to the processes in which they run."""

    def __init__(self, plan: Plan, folder: str) -> None:
        self.plan = plan
        self.folder = folder

    def without_sandbox(self) -> list[Tool]:
        """Those of every rollout."""
        compute = tool(self.compute, process=True)
        failing = [tool(self.refuse, name=REFUSE), tool(self.hang, name=HANG)]
        return [tool(self.look_up), tool(self.wait), tool(self.fetch), compute, *failing]

    def with_sandbox(self) -> Tool:
        """The one that needs a sandbox."""
        return tool(self.keep, name=KEEP)

    def look_up(self, key: str) -> str:
        """Look a key up, at once.

        Args:
            key: What to look up.
        """
        self._run_out(key)
        return answer_of("look_up", key)

    def wait(self, key: str) -> str:
        """Look a key up, slowly.

        Args:
            key: What to look up.
        """
        self._run_out(key)
        time.sleep(WAIT_SECONDS)
        return answer_of("wait", key)

    async def fetch(self, key: str) -> str:
        """Look a key up on the event loop.

        Args:
            key: What to look up.
        """
        self._run_out(key)
        await asyncio.sleep(WAIT_SECONDS)
        return answer_of("fetch", key)

    def compute(self, key: str) -> str:
        """Look a key up in another process.

        Args:
            key: What to look up.
        """
        self._run_out(key)
        if self._strikes("killed", key):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer_of("compute", key)

    def refuse(self, key: str) -> str:
        """Always fails.

        Args:
            key: What to look up.
        """
        raise ValueError(f"{key} cannot be looked up")

    async def hang(self, key: str) -> str:
        """Never answers.

        Args:
            key: What to look up.
        """
        await asyncio.Event().wait()
        return key

    async def keep(self, key: str, sandbox: Sandbox) -> str:
        """Look a key up in the sandbox.

        Args:
            key: What to look up.
        """
        task = (await sandbox.read("task")).decode()
        if self.plan.kind_for("sandboxes", task) == "killed" and self._mark("sandboxes.killed", task):
            await sandbox.exec(KILL_AGENT)
        await sandbox.write("answer", answer_of(KEEP, key).encode())
        answer = await sandbox.exec(["cat", "answer"])
        return answer.stdout.decode()

    def _run_out(self, key: str) -> None:
        if self._strikes("machine", key):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def _strikes(self, kind: str, key: str) -> bool:
        return self.plan.kind_for("tools", key) == kind and self._mark(f"tools.{kind}", key)

    def _mark(self, kind: str, key: str) -> bool:
        return Marks(self.folder).strike(kind, key)
