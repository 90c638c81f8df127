"""The process inside a sandbox that runs its commands and keeps its files, at the order of one socket.

It stands alone: the sandbox's own Python runs it (`python -I -S`), with the standard library and no more.
Two things always hold. All that a command started hangs below that command's supervisor or, where it killed
its supervisor, below the agent; and when the socket closes, for whatever reason, all of it ends.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import resource
import select
import stat
import struct
import sys
import time

# Every start of a sandbox pays for these imports: no json, typing or collections, and the plain module behind
# `signal`, whose enums alone take as long as all that is imported here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn, TypeVar

    _T = TypeVar("_T")
    Header = dict[str, Any]
    Work = Callable[[], None]  # what a command's process does; may take the process over and never return
else:
    import _signal as signal

PIECE = 1 << 20  # bytes of a file or of a stream that travel in one frame
WINDOW = 1 << 20  # bytes of a process's output that may be under way before the reader has to say "more"
PIPE_READ = 1 << 16
DRAIN = 0.05  # seconds that output may still come in after a command has ended
LAST_BREATH = 0.3  # seconds from a kill until the supervisor itself is killed
MAX_LINKS = 40  # symbolic links on the way of one path, as the kernel has it
MAX_DEPTH = 500  # folders on the way of one path
CONTENT = "content"  # what a copied file or folder is called within its archive


# ---- frames: what travels on the socket -----------------------------------------------------------------

_SIZES = struct.Struct(">II")


def order(header: Header, body: bytes = b"") -> bytes:
    """A frame to the agent, which trusts whoever started it: its header is marshalled."""
    return _frame(marshal.dumps(header, 2), body)


def report(header: Header, body: bytes = b"") -> bytes:
    """A frame from the agent, which nobody trusts: its header is JSON."""
    return _frame(to_json(header), body)


def _frame(header: bytes, body: bytes) -> bytes:
    return b"".join((_SIZES.pack(len(header), len(body)), header, body))


def to_json(value: object) -> bytes:
    """The JSON of what a header may hold: texts, finite numbers, truth values, ``None``, and lists and
    dictionaries of them."""
    if isinstance(value, str):
        units = value.encode("utf-16-be", "replace")
        codes = (high << 8 | low for high, low in zip(units[::2], units[1::2], strict=True))
        return b'"%s"' % b"".join(_character(code) for code in codes)
    if isinstance(value, dict):
        return b"{%s}" % b",".join(to_json(key) + b":" + to_json(value[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return b"[%s]" % b",".join(map(to_json, value))
    if value is None or isinstance(value, bool):
        return {None: b"null", True: b"true", False: b"false"}[value]
    return repr(value).encode()


def _character(code: int) -> bytes:
    return b"%c" % code if 32 <= code < 127 and code not in b'"\\' else b"\\u%04x" % code


class Frames:
    """Cuts what came in back into headers, not yet read, and bodies."""

    def __init__(self, max_size: int = 1 << 31) -> None:
        self._data = bytearray()
        self._max_size = max_size

    def add(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that are whole now.

        Raises:
            ValueError: a frame is larger than ``max_size``.
        """
        self._data += data
        whole = []
        while len(self._data) >= _SIZES.size:
            text_size, body_size = _SIZES.unpack_from(self._data)
            end = _SIZES.size + text_size + body_size
            if end > self._max_size:
                raise ValueError(f"a frame of {end} bytes")
            if len(self._data) < end:
                break
            middle = _SIZES.size + text_size
            whole.append((bytes(self._data[_SIZES.size : middle]), bytes(self._data[middle:end])))
            del self._data[:end]
        return whole


class Kept:
    """The beginning and the end of an output; what lies between is counted and dropped."""

    def __init__(self, limit: int) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._head_limit, self._tail_limit = limit - limit // 2, limit // 2
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_limit - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(0, room) :]
        if len(self._tail) > 2 * self._tail_limit + PIPE_READ:
            self._trim()

    def _trim(self) -> None:
        del self._tail[: max(0, len(self._tail) - self._tail_limit)]

    def content(self) -> bytes:
        self._trim()
        return bytes(self._head + self._tail)


# ---- the system: prctl, and processes found by /proc ----------------------------------------------------

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38


_LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")


class Process:
    """One line of the process table."""

    __slots__ = ("ended", "parent", "pid", "started")

    def __init__(self, pid: int, parent: int, ended: bool, started: int) -> None:
        self.pid, self.parent = pid, parent
        self.ended = ended  # a zombie: nothing runs any more
        self.started = started  # clock ticks since the system's start


def process(pid: int) -> Process | None:
    """One process, by its id; ``None`` where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return Process(pid, int(fields[1]), fields[0] in b"ZX", int(fields[19]))


def descendants(root: int) -> list[Process]:
    """All that stem from ``root``, zombies included."""
    children: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := process(int(name))):
            children.setdefault(found.parent, []).append(found)
    below = children.get(root, [])[:]
    for one in below:  # grows while it is walked
        below += children.get(one.pid, ())
    return below


def send_signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def kill_below(root: int, *, spare: int | None = None, since: float | None = None) -> None:
    """End all that stems from ``root``, but not ``root`` itself.

    Each is stopped before any is killed, and the walk is repeated until it finds nobody new: who is stopped
    starts no more processes, so a fork bomb cannot outrun the walk.

    Args:
        spare: one process that is left alone (what it started is not).
        since: only what was started within so many of the last seconds.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    oldest = 0 if since is None else (time.clock_gettime(time.CLOCK_BOOTTIME) - since) * ticks - 1
    give_up = time.monotonic() + 0.8  # nothing ends a process that hangs in the kernel
    while time.monotonic() < give_up:
        stopped: set[int] = set()
        while new := [
            one.pid
            for one in descendants(root)
            if not one.ended and one.pid not in stopped and one.pid != spare and one.started >= oldest
        ]:
            for pid in new:
                send_signal(pid, signal.SIGSTOP)
            stopped.update(new)
        if not stopped:
            return
        for pid in stopped:
            send_signal(pid, signal.SIGKILL)
        time.sleep(0.001)


def clear_folder(folder: int) -> None:
    """Remove all that is in an open folder, following no link. One folder is open at a time, and the way back
    is checked: nothing is nested too deep, and what is moved meanwhile leads nowhere else."""
    here = os.dup(folder)
    way = [("", os.fstat(here).st_ino, _subfolders(here))]  # name, inode, and what is still in it
    try:
        while way:
            name, _, left = way[-1]
            if left:
                there = os.open(left[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                way.append((left.pop(), os.fstat(there).st_ino, []))
                os.close(here)
                here = there
                way[-1][2].extend(_subfolders(here))
                continue
            way.pop()
            if way:
                above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = above
                if os.fstat(here).st_ino != way[-1][1]:
                    raise OSError(errno.EBUSY, "a folder was moved while it was removed")
                os.rmdir(name, dir_fd=here)
    finally:
        os.close(here)


def _subfolders(folder: int) -> list[str]:
    """The folders in an open folder, whose files are removed."""
    return [name for name in os.listdir(folder) if _unlink(name, folder)]


def _unlink(name: str, folder: int) -> bool:
    """Remove a file; or make a folder one that can be emptied, and say True."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=folder)
        return True
    return False


# ---- supervisors: one process per command, which all that the command starts hangs below ------------------


class Setting:
    """What a command is started with."""

    def __init__(self, hello: Header) -> None:
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


_REPORT = struct.Struct("ii")  # (process id of the command, -1), and then (the same, its exit code)


def supervise(work: Work, files: tuple[int, int, int], report: int, parent: int) -> NoReturn:
    """In a fork of the agent: do ``work`` in a process of its own, report its exit code, and stay for as long
    as anything that it started is there."""
    try:
        os.setsid()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # the agent has one thread, so this is its death and no less
        main = os.fork()
        if main == 0:
            _become(work, files)
        _keep_only(report)
        os.write(report, _REPORT.pack(main, -1))
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
                    os.write(report, _REPORT.pack(main, code if code >= 0 else 128 - code))
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
        _keep_only()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        work()
        code = 0
    except Refused as refused:
        os.write(2, str(refused).encode("utf-8", "replace"))
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(code)


def _keep_only(*files: int) -> None:
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


# ---- files: confined to the workspace ---------------------------------------------------------------------


class Refused(Exception):
    """An operation that is not done; the message names the path and says why."""


class Workspace:
    """Files below one folder. A path is walked step by step, each folder held open, so that nothing which
    changes meanwhile leads out."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def at(self, path: str, action: Callable[..., _T], *given: object, make: bool = False) -> _T:
        """``action(open folder, name in it, *given)`` for what ``path`` names, which need not exist itself.

        ``make``: missing folders on the way are made. The name is ``"."`` for the workspace itself.
        """
        held: list[int] = []
        try:
            name = self._walk(path, held, make)
            return action(held[-1], name, *given)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        finally:
            for file in held:
                os.close(file)

    def _walk(self, path: str, held: list[int], make: bool) -> str:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
        held.append(os.open(self.folder, flags))
        parts = self._parts(path, path)
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                if len(held) == 1:
                    raise Refused(f"{path}: leads out of the workspace")
                os.close(held.pop())
                continue
            if _is_link(part, held[-1]):
                links += 1
                if links > MAX_LINKS:
                    raise Refused(f"{path}: too many symbolic links")
                target = os.readlink(part, dir_fd=held[-1])
                more = self._parts(target, path)
                if target.startswith("/"):
                    while len(held) > 1:
                        os.close(held.pop())
                parts.extend(more)
                continue
            if not parts:
                return part
            if len(held) > MAX_DEPTH:
                raise Refused(f"{path}: too many folders on the way")
            held.append(self._step(part, held[-1], flags, make))
        return "."

    def _parts(self, path: str, asked: str) -> list[str]:
        """The steps of a path, the last one first."""
        if "\0" in path:
            raise Refused(f"{path!r}: a null character")
        if path.startswith("/"):
            if path != self.folder and not path.startswith(self.folder + "/"):
                raise Refused(f"{asked}: leads out of the workspace {self.folder}")
            path = path[len(self.folder) :]
        return [part for part in reversed(path.split("/")) if part not in ("", ".")]

    @staticmethod
    def _step(part: str, folder: int, flags: int, make: bool) -> int:
        try:
            return os.open(part, flags, dir_fd=folder)
        except FileNotFoundError:
            if not make:
                raise
        try:
            os.mkdir(part, dir_fd=folder)
        except FileExistsError:
            pass
        return os.open(part, flags, dir_fd=folder)

    # What is done at a path.

    def read(self, path: str, offset: int, size: int) -> tuple[bytes, int]:
        """A piece of a regular file, and the size of the whole."""

        def action(folder: int, name: str) -> tuple[bytes, int]:
            self._look(path, folder, name)
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                found = _regular(path, os.fstat(file))
                return os.pread(file, size, offset), found.st_size
            finally:
                os.close(file)

        return self.at(path, action)

    def write(self, path: str, offset: int, data: bytes, executable: bool) -> None:
        """A piece of a file; the first one empties it."""

        def action(folder: int, name: str) -> None:
            try:
                self._look(path, folder, name)
            except FileNotFoundError:
                pass
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if offset else os.O_TRUNC)
            file = os.open(name, flags, 0o644, dir_fd=folder)
            try:
                _regular(path, os.fstat(file))
                if executable:
                    os.fchmod(file, 0o755)
                view = memoryview(data)
                done = 0
                while done < len(data):
                    done += os.pwrite(file, view[done:], offset + done)
            finally:
                os.close(file)

        self.at(path, action, make=True)

    def kind(self, path: str) -> str:
        """``"file"`` or ``"folder"``; anything else is refused."""

        def action(folder: int, name: str) -> str:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return "folder"
            _regular(path, found)
            return "file"

        return self.at(path, action)

    @staticmethod
    def _look(path: str, folder: int, name: str) -> None:
        """Before a file is opened: opening a device may do something already."""
        _regular(path, os.stat(name, dir_fd=folder, follow_symlinks=False))


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _regular(path: str, found: os.stat_result) -> os.stat_result:
    if stat.S_ISDIR(found.st_mode):
        raise Refused(f"{path}: is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path}: no regular file")
    return found


# ---- archives: whole folders, written and read in a command's place ---------------------------------------


def pack_work(workspace: Workspace, path: str, mode: str) -> Work:
    """Write ``path`` to stdout as an archive: files, folders and symbolic links, nothing else."""

    def work() -> None:
        import tarfile

        def add(folder: int, name: str, arcname: str) -> None:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            info = tarfile.TarInfo(arcname)
            info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
            if stat.S_ISLNK(found.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=folder)
                archive.addfile(info)
            elif stat.S_ISDIR(found.st_mode):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    for child in sorted(os.listdir(inner)):
                        add(inner, child, f"{arcname}/{child}")
                finally:
                    os.close(inner)
            elif stat.S_ISREG(found.st_mode):
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                with os.fdopen(file, "rb") as content:
                    info.size = os.fstat(file).st_size
                    archive.addfile(info, content)

        with os.fdopen(1, "wb", closefd=False) as out, tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
            workspace.at(path, lambda folder, name: add(folder, name, CONTENT))

    return work


def unpack_work(workspace: Workspace, path: str, mode: str, clear: bool) -> Work:
    """Read an archive from stdin and make ``path`` what is in it. ``clear``: empty the workspace first."""

    def work() -> None:
        import tarfile

        if clear:
            folder = os.open(workspace.folder, os.O_RDONLY | os.O_DIRECTORY)
            clear_folder(folder)
        links: list[tarfile.TarInfo] = []
        folders: list[tarfile.TarInfo] = []
        with os.fdopen(0, "rb", closefd=False) as data, tarfile.open(fileobj=data, mode=mode) as archive:  # type: ignore[call-overload]
            for member in archive:
                if member.isdir():
                    folders.append(member)
                    workspace.at(target(member), _make_folder, make=True)
                elif member.issym():
                    links.append(member)
                elif member.isreg():
                    unpack_file(member, archive.extractfile(member))
        for member in links:  # last, so that nothing is written through one of them
            workspace.at(target(member), _make_link, member, make=True)
        for member in reversed(folders):  # last as well: a folder may be one that nothing can be written to
            workspace.at(target(member), _finish, member)

    def target(member: Any) -> str:
        first, *rest = member.name.split("/")
        if first != CONTENT or ".." in rest:
            raise Refused(f"{member.name}: a strange name in an archive")
        return "/".join([path, *rest]) if rest else path

    def unpack_file(member: Any, content: Any) -> None:
        name, offset = target(member), 0
        while (piece := content.read(PIECE)) or not offset:
            workspace.write(name, offset, piece, False)
            offset += len(piece)
            if not piece:
                break
        workspace.at(name, _finish, member)

    return work


def _make_folder(folder: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise


def _make_link(folder: int, name: str, member: Any) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    os.symlink(member.linkname, name, dir_fd=folder)
    os.utime(name, (member.mtime, member.mtime), dir_fd=folder, follow_symlinks=False)


def _finish(folder: int, name: str, member: Any) -> None:
    os.chmod(name, member.mode & 0o7777, dir_fd=folder)
    os.utime(name, (member.mtime, member.mtime), dir_fd=folder, follow_symlinks=False)


# ---- commands: what the agent knows of each ---------------------------------------------------------------


class Output:
    """One pipe that a command writes to."""

    def __init__(self, file: int, kept: Kept) -> None:
        self.file = file
        self.kept = kept
        self.open = True


class Command:
    """A command from its start until nothing of it is left."""

    def __init__(self, number: int, supervisor: int, report: int, stdin: int, outputs: list[Output]) -> None:
        self.number = number  # of the request that started it
        self.supervisor = supervisor  # process id
        self.supervised = True  # the supervisor is there
        self.main: int | None = None  # process id of the command itself
        self.report, self.stdin = report, stdin  # pipes; -1 when closed
        self.outputs = outputs
        self.streams = False  # its output goes out as it comes; else it is kept for the reply
        self.window = WINDOW  # bytes that may go out before the reader asks for more
        self.paused = False
        self.unwritten: list[tuple[memoryview, int]] = []  # stdin, and the request that waits for it
        self.ends_input = False  # close stdin when all is written
        self.began = time.monotonic()
        self.deadline: float | None = None  # `time.monotonic`, as all moments here
        self.end_at: float | None = None  # wait no longer than this for output and supervisor
        self.written = 0
        self.exit_code: int | None = None
        self.killed = False
        self.timed_out = False
        self.exceeded = False
        self.answered = False

    def next_time(self) -> float:
        times = [moment for moment in (self.deadline, self.end_at) if moment is not None]
        return min(times, default=float("inf"))


# ---- the agent --------------------------------------------------------------------------------------------


class Agent:
    """One loop over the socket, the commands' pipes and the clock."""

    def __init__(self, link: int) -> None:
        self.link = link
        self.frames = Frames()
        self.unsent = bytearray()
        self.poll = select.epoll()
        self.ready: dict[int, Callable[[], object]] = {}  # what to do when a file is ready
        self.commands: dict[int, Command] = {}
        self.over = False
        self.setting: Setting
        self.workspace: Workspace
        self.folder: str | None = None  # removed at the end
        self.output_limit = 0  # bytes that one command may write

    def run(self) -> None:
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        os.set_blocking(self.link, False)
        self.watch(self.link, select.EPOLLIN, self.on_link)
        self.watch(wake, select.EPOLLIN, lambda: self.on_child(wake))
        while not self.over:
            now = time.monotonic()
            soonest = min((command.next_time() for command in self.commands.values()), default=float("inf"))
            wait = -1 if soonest == float("inf") else max(0.0, soonest - now)
            for file, _ in self.poll.poll(wait):
                if action := self.ready.get(file):
                    action()
            now = time.monotonic()
            for command in list(self.commands.values()):
                if command.next_time() <= now:
                    self.on_time(command, now)

    def watch(self, file: int, events: int, action: Callable[[], object]) -> None:
        if file in self.ready:
            self.poll.modify(file, events)
        else:
            self.poll.register(file, events)
        self.ready[file] = action

    def unwatch(self, file: int) -> None:
        if self.ready.pop(file, None):
            self.poll.unregister(file)

    def shut(self, file: int) -> None:
        if file >= 0:
            self.unwatch(file)
            os.close(file)

    # The socket.

    def on_link(self) -> None:
        try:
            data = os.read(self.link, PIPE_READ)
        except BlockingIOError:
            return self.flush()
        except OSError:
            data = b""
        if not data:
            self.over = True
            return None
        for text, body in self.frames.add(data):
            self.on_request(marshal.loads(text), body)
        return self.flush()

    def send(self, header: Header, body: bytes = b"") -> None:
        self.unsent += report(header, body)
        self.flush()

    def flush(self) -> None:
        while self.unsent:
            try:
                del self.unsent[: os.write(self.link, memoryview(self.unsent)[:PIECE].tobytes())]
            except BlockingIOError:
                break
            except OSError:
                self.over = True
                return
        self.watch(self.link, select.EPOLLIN | (select.EPOLLOUT if self.unsent else 0), self.on_link)

    def on_request(self, request: Header, body: bytes) -> None:
        try:
            answer = getattr(self, "do_" + request["op"])(request, body)
        except Refused as refused:
            self.send({"id": request["id"], "error": "file", "message": str(refused)})
        except Ended as ended:
            self.send({"id": request["id"], "error": "ended", "message": str(ended)})
        except (OSError, ValueError) as error:  # ValueError: a text that no file system takes
            kind = "sandbox" if isinstance(error, OSError) else "file"
            self.send({"id": request["id"], "error": kind, "message": f"{request['op']}: {error}"})
        else:
            if answer is not None:
                self.send({"id": request["id"], **answer[0]}, answer[1])

    # What can be asked for. ``None``: the answer comes later.

    def do_hello(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        """Become what the sandbox is to be. Asked once, first."""
        for path, content in request["files"].items():
            with open(path, "w") as file:
                file.write(content)
        if user := request["user"]:
            for path in request["owned"]:
                os.chown(path, user, user)
            drop_to(user)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_DUMPABLE, 0)  # setting the user has changed that
        for which, value in request["own_limits"]:
            _, hard = resource.getrlimit(which)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (value, hard if which == resource.RLIMIT_FSIZE else value))
        self.setting = Setting(request)
        self.workspace = Workspace(request["workspace"])
        self.folder = request["folder"]
        self.output_limit = request["output_limit"]
        os.umask(0o022)
        silent = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(silent, number)
        os.close(silent)
        return {}, b""

    def do_exec(self, request: Header, body: bytes) -> None:
        command = self.start(request, self.command_work(request), body, request["max_output"], merged=False)
        if request["timeout"] is not None:
            command.deadline = command.began + request["timeout"]

    def do_start(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        command = self.start(request, self.command_work(request), None, 0, merged=True)
        command.streams = True
        return {}, b""

    def do_pack(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        work = pack_work(self.workspace, request["path"], request["mode"])
        self.start(request, work, None, PIPE_READ, merged=False).streams = True
        return {}, b""

    def do_unpack(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        work = unpack_work(self.workspace, request["path"], request["mode"], request["clear"])
        self.start(request, work, None, PIPE_READ, merged=False).streams = True
        return {}, b""

    def do_input(self, request: Header, body: bytes) -> None:
        """Write to a command's stdin; answered when the pipe has taken it all."""
        command = self.commands.get(request["to"])
        if command is None or command.stdin < 0 or command.exit_code is not None:
            raise Ended("it has ended")
        command.unwritten.append((memoryview(body), request["id"]))
        command.ends_input = command.ends_input or request["last"]
        self.on_input(command)

    def do_more(self, request: Header, body: bytes) -> None:
        """The reader has taken so many bytes."""
        if command := self.commands.get(request["to"]):
            command.window += request["bytes"]
            if command.paused and command.window > 0:
                command.paused = False
                for output in command.outputs:
                    if output.open:
                        self.watch_output(command, output)

    def do_kill(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        if command := self.commands.get(request["to"]):
            self.kill(command, request["children_only"], request["started_after"])
        return {}, b""

    def do_kill_all(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        for command in list(self.commands.values()):
            self.kill(command)
        self.kill_strays()
        return {}, b""

    def do_read(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        data, size = self.workspace.read(request["path"], request["offset"], min(request["bytes"], PIECE))
        return {"size": size}, data

    def do_write(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        self.workspace.write(request["path"], request["offset"], body, request["executable"])
        return {}, b""

    def do_kind(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        return {"kind": self.workspace.kind(request["path"])}, b""

    def do_close(self, request: Header, body: bytes) -> None:
        self.over = True

    # Commands.

    def command_work(self, request: Header) -> Work:
        directory = os.path.join(self.setting.workspace, request["directory"] or "")
        if not os.path.isdir(directory):
            raise Refused(f"{request['directory']}: no such folder to start in")
        environment = {**self.setting.environment, **request["environment"]}
        return command_work(self.setting, request["command"], directory, environment)

    def start(
        self, request: Header, work: Work, stdin: bytes | None, max_output: int, *, merged: bool
    ) -> Command:
        """Start ``work`` below a supervisor. ``stdin``: all that it gets; ``None`` if more is to come."""
        theirs: list[int] = []  # ends of pipes
        ours: list[int] = []
        try:
            for inward in (False, True, True, True)[: 3 if merged else 4]:
                read, write = os.pipe2(os.O_CLOEXEC)
                ours.append(read if inward else write)
                theirs.append(write if inward else read)
            me = os.getpid()
            supervisor = os.fork()
            if supervisor == 0:
                files = (theirs[0], theirs[2], theirs[-1])
                supervise(work, files, theirs[1], me)
        except OSError:
            for file in ours:
                os.close(file)
            raise
        finally:
            for file in theirs:
                os.close(file)
        for file in ours:
            os.set_blocking(file, False)
        outputs = [Output(file, Kept(max_output)) for file in ours[2:]]
        command = Command(request["id"], supervisor, ours[1], ours[0], outputs)
        self.commands[command.number] = command
        self.watch(command.report, select.EPOLLIN, lambda: self.on_report(command))
        for output in outputs:
            self.watch_output(command, output)
        if stdin is not None:
            command.unwritten.append((memoryview(stdin), 0))
            command.ends_input = True
            self.on_input(command)
        return command

    def watch_output(self, command: Command, output: Output) -> None:
        self.watch(output.file, select.EPOLLIN, lambda: self.on_output(command, output))

    def on_output(self, command: Command, output: Output) -> bool:
        """Take what a command has written. False when there was nothing to take."""
        if not output.open or command.paused:
            return False
        try:
            data = os.read(output.file, PIPE_READ)
        except BlockingIOError:
            return False
        if not data:
            output.open = False
            self.shut(output.file)
            self.settle(command)
            return False
        command.written += len(data)
        if not command.answered:
            self.pass_on(command, output, data)
        counts = command.answered or not command.streams  # a stream waits for its reader instead
        if counts and command.written > self.output_limit and not command.killed:
            command.exceeded = True
            self.kill(command)
        return True

    def pass_on(self, command: Command, output: Output, data: bytes) -> None:
        if not command.streams or output is not command.outputs[0]:
            output.kept.add(data)
            return
        self.send({"id": command.number, "event": "output"}, data)
        command.window -= len(data)
        if command.window <= 0:
            command.paused = True
            for each in command.outputs:
                self.unwatch(each.file)

    def on_input(self, command: Command) -> None:
        while command.unwritten:
            data, request = command.unwritten[0]
            try:
                done = os.write(command.stdin, data[:PIECE]) if data else 0
            except BlockingIOError:
                self.watch(command.stdin, select.EPOLLOUT, lambda: self.on_input(command))
                return
            except OSError:
                self.close_input(command)
                return
            if done < len(data):
                command.unwritten[0] = (data[done:], request)
                continue
            command.unwritten.pop(0)
            if request:
                self.send({"id": request})
        if command.ends_input:
            self.close_input(command)
        else:
            self.unwatch(command.stdin)

    def close_input(self, command: Command) -> None:
        """No more stdin; whoever still waits to write hears that nobody reads."""
        self.shut(command.stdin)
        command.stdin = -1
        waiting, command.unwritten = command.unwritten, []
        for _, request in waiting:
            if request:
                self.send({"id": request, "error": "ended", "message": "it has ended"})

    def on_report(self, command: Command) -> None:
        """What the supervisor says, up to its own end."""
        while command.report >= 0:
            try:
                data = os.read(command.report, _REPORT.size)
            except BlockingIOError:
                return
            if data:
                command.main, code = _REPORT.unpack(data)
                if code >= 0:
                    self.note_exit(command, code)
            else:
                self.shut(command.report)
                command.report = -1
                if command.exit_code is None:  # it was killed, and so is what it watched over
                    self.note_exit(command, 128 + signal.SIGKILL)

    def note_exit(self, command: Command, code: int) -> None:
        command.exit_code = code
        if command.end_at is None:
            command.end_at = time.monotonic() + DRAIN
        if command.stdin >= 0:
            self.close_input(command)
        if command.streams:
            self.send({"id": command.number, "event": "exit", "exit_code": code})
        self.settle(command)

    def settle(self, command: Command, *, out_of_time: bool = False) -> None:
        """Answer when all is known, and forget when all is over."""
        quiet = not any(output.open for output in command.outputs)
        if not command.answered and command.exit_code is not None and (quiet or out_of_time):
            command.answered = True
            command.written = 0 if command.streams else command.written
            command.deadline = command.end_at = None
            self.answer(command)
        if quiet and command.answered and not command.supervised:
            self.shut(command.report)
            command.report = -1
            self.commands.pop(command.number, None)

    def answer(self, command: Command) -> None:
        kept = [output.kept for output in command.outputs]
        if command.streams:
            message = kept[-1].content().decode("utf-8", "replace") if len(kept) > 1 else ""
            header = {"id": command.number, "event": "end", "exit_code": command.exit_code}
            self.send({**header, "message": message})
            return
        contents = [one.content() for one in kept]
        header = {
            "id": command.number,
            "exit_code": command.exit_code,
            "sizes": [len(content) for content in contents],
            "cut": [one.total - len(content) for one, content in zip(kept, contents, strict=True)],
            "timed_out": command.timed_out,
            "output_exceeded": command.exceeded,
            "duration": time.monotonic() - command.began,
        }
        self.send(header, b"".join(contents))

    def on_time(self, command: Command, now: float) -> None:
        if command.deadline is not None and command.deadline <= now:
            command.deadline = None
            if command.exit_code is None:
                command.timed_out = True
            self.kill(command)
        elif command.end_at is not None and command.end_at <= now:
            if command.exit_code is None:  # killed, and its supervisor says nothing: it was stopped
                send_signal(command.supervisor, signal.SIGKILL)
                self.note_exit(command, 128 + signal.SIGKILL)
            command.end_at = now + DRAIN  # again, where the output's reader is slow: nothing is lost for that
            if not command.paused:
                self.drain(command)
            if not command.paused:
                self.settle(command, out_of_time=True)

    def drain(self, command: Command) -> None:
        """Take what is in the pipes, and no more than they hold: somebody else may go on writing."""
        for output in command.outputs:
            for _ in range(PIECE // PIPE_READ):
                if command.answered or not self.on_output(command, output):
                    break

    def kill(self, command: Command, children_only: bool = False, since: float | None = None) -> None:
        """End a command's processes, or those that are meant."""
        if command.supervised:
            spare = command.main if children_only and command.exit_code is None else None
            kill_below(command.supervisor, spare=spare, since=since)
            send_signal(command.supervisor, signal.SIGCONT)
        if not children_only and since is None:
            command.killed = True
            command.deadline = None
            if not command.answered:
                command.end_at = time.monotonic() + LAST_BREATH

    # Processes that have ended.

    def on_child(self, wake: int) -> None:
        os.read(wake, 4096)
        supervisors = {c.supervisor: c for c in self.commands.values() if c.supervised}
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if command := supervisors.get(pid):
                command.supervised = False
                self.kill_strays()
                self.on_report(command)
                self.settle(command)

    def kill_strays(self) -> None:
        """What a supervisor left behind that was killed: it is ours now."""
        supervisors = {c.supervisor for c in self.commands.values() if c.supervised}
        for one in descendants(os.getpid()):
            if one.parent == os.getpid() and one.pid not in supervisors and not one.ended:
                send_signal(one.pid, signal.SIGSTOP)
                kill_below(one.pid)
                send_signal(one.pid, signal.SIGKILL)

    def end(self) -> None:
        """Nothing is left of the sandbox. As the first process of a namespace, ending is enough."""
        if os.getpid() != 1:
            kill_below(os.getpid())
        if self.folder is not None:
            remove_folder(self.folder)


class Ended(Exception):
    """A process that has ended was written to."""


def remove_folder(path: str) -> None:
    """Remove a folder and all in it, however deep, without following a link. One that is gone is no fault."""
    try:
        entry = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        os.chmod(f"/proc/self/fd/{entry}", 0o700)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    finally:
        os.close(entry)
    try:
        clear_folder(folder)
    finally:
        os.close(folder)
    os.rmdir(path)


def drop_to(user: int) -> None:
    """From root to one user and group, for good."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    version_3 = struct.pack("Ii", 0x20080522, 0)
    if _LIBC.capset(version_3, bytes(24)) != 0:  # the inheritable ones are still there
        raise OSError(errno.EPERM, "cannot drop capabilities")


def main(arguments: Iterable[str]) -> None:
    (link,) = (int(argument) for argument in arguments)
    _keep_only(link)
    prctl(PR_SET_DUMPABLE, 0)
    os.set_inheritable(link, False)
    agent = Agent(link)
    try:
        agent.run()
    except Exception as error:
        agent.send({"id": 0, "event": "crash", "message": f"{type(error).__name__}: {error}"})
    finally:
        agent.end()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
