"""The check of a task, after its rollout: what runs is ended, and what is left is judged."""

from __future__ import annotations

from rollway.environments.terminal.clean_shell import run_clean
from rollway.environments.terminal.folders import TaskFolder
from rollway.environments.terminal.host_checks import judge_here
from rollway.environments.terminal.script_checks import run_script
from rollway.environments.terminal.verdict import Verdict
from rollway.tools.sandboxes import Sandbox


async def check(folder: TaskFolder, sandbox: Sandbox) -> Verdict:
    """End all that the rollout left running, unless the task asks for a service, and judge what it left.

    Raises:
        SandboxError: the sandbox is gone, so that nothing can be said.
    """
    if not folder.keep_processes:
        await sandbox.kill_all()
    if folder.check == "here":
        verdict = await judge_here(folder.path / "tests" / "check.py", sandbox, timeout=folder.check_timeout)
    else:
        verdict = await run_script(folder, sandbox)
    if not verdict.solved:
        await run_clean(sandbox, ":", timeout=30.0)  # a sandbox that is gone says so here at the latest
    return verdict
