"""How programs are run in a sandbox that a policy has used: nothing that it left is read at their start.

Start-up files are looked for in a home that does not exist, and variables that name programs or files to be
loaded are empty. What a policy replaced in the system's own folders is out of reach of this; the sandbox
must not let it.
"""

from __future__ import annotations

from rollway.tools.sandboxes import ExecResult, Sandbox

CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "BASH_ENV": "",
    "ENV": "",
    "LD_PRELOAD": "",
    "LD_LIBRARY_PATH": "",
    "PYTHONPATH": "",
    "PYTHONSTARTUP": "",
    "PYTHONNOUSERSITE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_GRAFT_FILE": "/dev/null",  # history as it is, not as a file beside it says
    "GIT_SHALLOW_FILE": "/dev/null",
}

PROGRAMS = (
    "awk", "bash", "cat", "chmod", "cp", "date", "find", "git", "grep", "gzip", "mkdir", "mv",
    "python3", "rm", "sed", "seq", "sha256sum", "sort", "tar", "touch", "tr", "truncate", "uniq", "xargs",
    "zcat",
)  # fmt: skip
"""What the shipped tasks, their checks and their reference solutions use."""


async def run_clean(
    sandbox: Sandbox, script: str, *arguments: str, directory: str | None = None, timeout: float | None = None
) -> ExecResult:
    """Run a bash script given as text."""
    return await sandbox.exec(
        ["/bin/bash", "--noprofile", "--norc", "-c", script, "bash", *arguments],
        directory=directory,
        timeout=timeout,
        environment=CLEAN_ENVIRONMENT,
    )


async def missing_programs(sandbox: Sandbox) -> list[str]:
    """Those of `PROGRAMS` that the sandbox does not have."""
    script = 'for name; do command -v "$name" >/dev/null || printf "%s\\n" "$name"; done'
    done = await sandbox.exec(["/bin/sh", "-c", script, "sh", *PROGRAMS], environment=CLEAN_ENVIRONMENT)
    return done.stdout.decode().split()
