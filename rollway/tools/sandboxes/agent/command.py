"""What the agent knows of one command."""

from __future__ import annotations

import time

from rollway.tools.sandboxes.agent.output import Output

WINDOW = 1 << 20  # bytes of output that may be under way before the reader has to say "more"


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
