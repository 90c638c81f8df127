"""The agent itself: it runs commands and keeps files inside a sandbox, at the order of one socket.

Two things always hold. All that a command started hangs below that command's supervisor or, where it killed
its supervisor, below the agent; and when the socket closes, for whatever reason, all of it ends.
"""

from __future__ import annotations

import marshal
import os
import resource
import select

from rollway.tools.sandboxes.agent.archives import pack_work, unpack_work
from rollway.tools.sandboxes.agent.commands import Commands, Ended
from rollway.tools.sandboxes.agent.folders import remove_folder
from rollway.tools.sandboxes.agent.frames import PIECE, Frames, report
from rollway.tools.sandboxes.agent.loop import Loop
from rollway.tools.sandboxes.agent.output import PIPE_READ
from rollway.tools.sandboxes.agent.supervisor import (
    CANNOT_START,
    Setting,
    cannot_start,
    command_work,
    keep_only,
)
from rollway.tools.sandboxes.agent.system import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    drop_to,
    kill_below,
    prctl,
)
from rollway.tools.sandboxes.agent.workspace import Refused, Workspace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Header = dict[str, Any]
    Work = Callable[[], None]


class Agent:
    """The socket: reads orders, has them done, and answers."""

    def __init__(self, link: int) -> None:
        self.link = link
        self.loop = Loop()
        self.commands = Commands(self.loop, self.send)
        self.frames = Frames()
        self.unsent = bytearray()
        self.over = False
        self.setting: Setting
        self.workspace: Workspace
        self.folder: str | None = None  # removed at the end

    def run(self) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        os.set_blocking(self.link, False)
        self.loop.watch(self.link, select.EPOLLIN, self.on_link)
        while not self.over:
            self.loop.wait(until=self.commands.next_time())
            self.commands.on_clock()

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
        self.loop.watch(self.link, select.EPOLLIN | (select.EPOLLOUT if self.unsent else 0), self.on_link)

    def on_request(self, request: Header, body: bytes) -> None:
        try:
            answer = getattr(self, "do_" + request["op"])(request, body)
        except Refused as refused:
            number = getattr(refused.__cause__, "errno", None)
            self.send({"id": request["id"], "error": "file", "message": str(refused), "errno": number})
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
        self.commands.output_limit = request["output_limit"]
        os.umask(0o022)
        silent = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(silent, number)
        os.close(silent)
        return {}, b""

    def do_exec(self, request: Header, body: bytes) -> tuple[Header, bytes] | None:
        try:
            self.exec(request, body)
        except OSError as error:  # what runs already has used up the processes: that is no fault of ours
            told = cannot_start(error)
            return {"exit_code": CANNOT_START, "sizes": [0, len(told)], "cut": [0, 0]}, told
        return None

    def exec(self, request: Header, body: bytes) -> None:
        command = self.commands.start(
            request["id"], self.command_work(request), body, request["max_output"], merged=False
        )
        if request["timeout"] is not None:
            command.deadline = command.began + request["timeout"]

    def do_start(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        command = self.commands.start(request["id"], self.command_work(request), None, 0, merged=True)
        command.streams = True
        return {}, b""

    def do_pack(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        work = pack_work(self.workspace, request["path"], request["mode"])
        self.commands.start(request["id"], work, None, PIPE_READ, merged=False).streams = True
        return {}, b""

    def do_unpack(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        work = unpack_work(self.workspace, request["path"], request["mode"], request["clear"])
        self.commands.start(request["id"], work, None, PIPE_READ, merged=False).streams = True
        return {}, b""

    def do_input(self, request: Header, body: bytes) -> None:
        self.commands.give(request["to"], body, last=request["last"], request=request["id"])

    def do_more(self, request: Header, body: bytes) -> None:
        self.commands.let_go_on(request["to"], request["bytes"])

    def do_kill(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        if command := self.commands.running.get(request["to"]):
            self.commands.kill(command, request["children_only"], request["since"])
        return {}, b""

    def do_kill_all(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        self.commands.kill_all()
        return {}, b""

    def do_read(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        data, size = self.workspace.read(request["path"], request["offset"], min(request["bytes"], PIECE))
        return {"size": size}, data

    def do_write(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        self.workspace.replace(
            request["path"],
            request["offset"],
            body,
            executable=request["executable"],
            part=request["part"],
            last=request["last"],
        )
        return {}, b""

    def do_drop(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        self.workspace.drop(request["path"], request["part"])
        return {}, b""

    def do_kind(self, request: Header, body: bytes) -> tuple[Header, bytes]:
        return {"kind": self.workspace.kind(request["path"])}, b""

    def do_close(self, request: Header, body: bytes) -> None:
        self.over = True

    def command_work(self, request: Header) -> Work:
        directory = os.path.join(self.setting.workspace, request["directory"] or "")
        if not os.path.isdir(directory):
            raise Refused(f"{request['directory']}: no such folder to start in")
        environment = {**self.setting.environment, **request["environment"]}
        return command_work(self.setting, request["command"], directory, environment)

    def end(self) -> None:
        """Nothing is left of the sandbox. As the first process of a namespace, ending is enough."""
        if os.getpid() != 1:
            kill_below(os.getpid())
        if self.folder is not None:
            remove_folder(self.folder)


def main(arguments: Iterable[str]) -> None:
    (link,) = (int(argument) for argument in arguments)
    keep_only(link)
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
