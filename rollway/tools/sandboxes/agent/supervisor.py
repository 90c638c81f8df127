"""One process per command, which all that the command starts hangs below, daemons included.

The supervisor reports the command's end, and stays for as long as anything that it started is there.
"""

from __future__ import annotations

import errno
import os
import resource
import struct

from rollway.tools.sandboxes.agent.system import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    kill_below,
    prctl,
)
from rollway.tools.sandboxes.agent.workspace import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Work = Callable[[], None]  # what a command's process does; may take the process over and never return
    import signal
else:
    import _signal as signal  # the same without its enums, which take longer to load than all else


class Setting:
    """What a command is started with."""

    def __init__(self, hello: dict[str, Any]) -> None:
        self.workspace: str = hello["workspace"]
        self.environment: dict[str, str] = hello["environment"]
        self.limits: list[tuple[int, int]] = [tuple(limit) for limit in hello["limits"]]  # type: ignore[misc]

    def apply(self) -> None:
        """In the command's own process, just before the command takes it over."""
        for name in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(name, signal.SIG_DFL)
        for which, value in self.limits:
            _, hard = resource.getrlimit(which)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (value, value))
        prctl(PR_SET_DUMPABLE, 1)  # or /proc/self would not be ours; there is nothing of the agent left here
        try:  # when memory runs out, a command goes before the agent does
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        except OSError:
            pass


REPORT = struct.Struct("ii")  # (process id of the command, -1), and then (the same, its exit code)


CANNOT_START = 126  # the exit code of a command that there was no process for


def cannot_start(error: OSError) -> bytes:
    """What such a command says on stderr."""
    return f"cannot start a process: {error.strerror}\n".encode()


def supervise(work: Work, files: tuple[int, int, int], report: int, parent: int) -> None:
    """In a fork of the agent: do ``work`` in a process of its own, report its exit code, and stay for as long
    as anything that it started is there. Does not return."""
    try:
        os.setsid()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # the agent has one thread, so this is its death and no less
        try:
            main = os.fork()
        except OSError as error:
            os.write(files[2], cannot_start(error))
            os.write(report, REPORT.pack(os.getpid(), CANNOT_START))
            return
        if main == 0:
            _become(work, files)
        keep_only(report)
        os.write(report, REPORT.pack(main, -1))
        if os.getppid() != parent:  # it died before we had asked to be told
            os.kill(os.getpid(), signal.SIGTERM)
        _stay(main, report)
    finally:
        os._exit(0)


def _stay(main: int, report: int) -> None:
    while True:
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == main:
                    code = os.waitstatus_to_exitcode(ended[1])
                    os.write(report, REPORT.pack(main, code if code >= 0 else 128 - code))
        except ChildProcessError:
            return
        if signal.sigwait((signal.SIGCHLD, signal.SIGTERM)) == signal.SIGTERM:
            kill_below(os.getpid())


def _become(work: Work, files: tuple[int, int, int]) -> NoReturn:
    """In a fork of the supervisor: do the work with ``files`` as its standard ones, and nothing else open."""
    code = 1
    try:
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
        keep_only()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        work()
        code = 0
    except Refused as refused:
        os.write(2, str(refused).encode("utf-8", "replace"))
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(code)


def keep_only(*files: int) -> None:
    """Close all but the standard files and these."""
    first = 3
    for file in sorted(files):
        os.closerange(first, file)
        first = file + 1
    os.closerange(first, 1 << 20)


def command_work(setting: Setting, command: list[str], directory: str, environment: dict[str, str]) -> Work:
    """The process becomes the command. One that is not there ends with 127, as a shell would have it."""

    def work() -> None:
        os.chdir(directory)
        setting.apply()
        error = execute(command, environment)
        os.write(2, f"{command[0]}: {error.strerror}\n".encode("utf-8", "replace"))
        os._exit(127 if error.errno == errno.ENOENT else 126)

    return work


def execute(command: list[str], environment: dict[str, str]) -> OSError:
    """Become a program that is looked for in ``PATH``. What was wrong, where it is not there.

    `os.execvpe` does the same and loads a module for it, at every command.
    """
    name = command[0]
    folders = [""] if "/" in name else environment.get("PATH", os.defpath).split(":")
    fault = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for folder in folders:
        try:
            os.execve(os.path.join(folder, name), command, environment)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                fault = error
    return fault
