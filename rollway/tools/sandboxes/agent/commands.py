"""The commands of a sandbox, from their start until nothing is left of them.

A command is answered once it has ended and its output is in, or at its deadline, when all of it is killed;
output that comes later, of what it left in the background, is counted and dropped.
"""

from __future__ import annotations

import os
import select
import time

from rollway.tools.sandboxes.agent.command import Command
from rollway.tools.sandboxes.agent.frames import PIECE
from rollway.tools.sandboxes.agent.loop import Loop
from rollway.tools.sandboxes.agent.output import PIPE_READ, Kept, Output
from rollway.tools.sandboxes.agent.supervisor import REPORT, supervise
from rollway.tools.sandboxes.agent.system import descendants, kill_below, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[], None]
    import signal
else:
    import _signal as signal  # the same without its enums, which take longer to load than all else

DRAIN = 0.05  # seconds that output may still come in after a command has ended
LAST_BREATH = 0.3  # seconds from a kill until the supervisor itself is killed


class Ended(Exception):
    """A process that has ended was written to."""


class Commands:
    """All commands of a sandbox. Their results go out through ``send``."""

    def __init__(self, loop: Loop, send: Callable[..., None]) -> None:
        self.loop = loop
        self.send = send
        self.running: dict[int, Command] = {}  # by the number of the request that started them
        self.output_limit = 0  # bytes that one command may write
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        loop.watch(wake, select.EPOLLIN, lambda: self.on_child(wake))

    def next_time(self) -> float:
        """When `on_clock` is due."""
        return min((command.next_time() for command in self.running.values()), default=float("inf"))

    def on_clock(self) -> None:
        now = time.monotonic()
        for command in list(self.running.values()):
            if command.next_time() <= now:
                self.on_time(command, now)

    def start(
        self, number: int, work: Work, stdin: bytes | None, max_output: int, *, merged: bool
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
        command = Command(number, supervisor, ours[1], ours[0], outputs)
        self.running[command.number] = command
        self.loop.watch(command.report, select.EPOLLIN, lambda: self.on_report(command))
        for output in outputs:
            self.watch_output(command, output)
        if stdin is not None:
            command.unwritten.append((memoryview(stdin), 0))
            command.ends_input = True
            self.on_input(command)
        return command

    def give(self, number: int, data: bytes, *, last: bool, request: int) -> None:
        """Write to a command's stdin; ``request`` is answered when the pipe has taken it all."""
        command = self.running.get(number)
        if command is None or command.stdin < 0 or command.exit_code is not None:
            raise Ended("it has ended")
        command.unwritten.append((memoryview(data), request))
        command.ends_input = command.ends_input or last
        self.on_input(command)

    def let_go_on(self, number: int, size: int) -> None:
        """The reader has consumed this many bytes."""
        if command := self.running.get(number):
            command.window += size
            if command.paused and command.window > 0:
                command.paused = False
                for output in command.outputs:
                    if output.open:
                        self.watch_output(command, output)

    def watch_output(self, command: Command, output: Output) -> None:
        self.loop.watch(output.file, select.EPOLLIN, lambda: self.on_output(command, output))

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
            self.loop.shut(output.file)
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
                self.loop.unwatch(each.file)

    def on_input(self, command: Command) -> None:
        while command.unwritten:
            data, request = command.unwritten[0]
            try:
                done = os.write(command.stdin, data[:PIECE]) if data else 0
            except BlockingIOError:
                self.loop.watch(command.stdin, select.EPOLLOUT, lambda: self.on_input(command))
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
            self.loop.unwatch(command.stdin)

    def close_input(self, command: Command) -> None:
        """No more stdin; whoever still waits to write hears that nobody reads."""
        self.loop.shut(command.stdin)
        command.stdin = -1
        waiting, command.unwritten = command.unwritten, []
        for _, request in waiting:
            if request:
                self.send({"id": request, "error": "ended", "message": "it has ended"})

    def on_report(self, command: Command) -> None:
        """What the supervisor says, up to its own end."""
        while command.report >= 0:
            try:
                data = os.read(command.report, REPORT.size)
            except BlockingIOError:
                return
            if data:
                command.main, code = REPORT.unpack(data)
                if code >= 0:
                    self.note_exit(command, code)
            else:
                self.loop.shut(command.report)
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
            self.loop.shut(command.report)
            command.report = -1
            self.running.pop(command.number, None)

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

    def kill_all(self) -> None:
        for command in list(self.running.values()):
            self.kill(command)
        self.kill_strays()

    def on_child(self, wake: int) -> None:
        os.read(wake, 4096)
        supervisors = {c.supervisor: c for c in self.running.values() if c.supervised}
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
        supervisors = {c.supervisor for c in self.running.values() if c.supervised}
        for one in descendants(os.getpid()):
            if one.parent == os.getpid() and one.pid not in supervisors and not one.ended:
                send_signal(one.pid, signal.SIGSTOP)
                kill_below(one.pid)
                send_signal(one.pid, signal.SIGKILL)
