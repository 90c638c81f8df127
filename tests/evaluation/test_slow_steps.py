"""What takes long before the first rollout is told; what is quick is not."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from rollway.evaluation.slow_steps import told_if_slow


class Told(io.StringIO):
    """A screen that says when something is written on it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_a_step_that_takes_long_is_told_while_it_goes_on() -> None:
    screen = Told()
    with told_if_slow(Console(file=screen), "reading [the] tasks", after=0.0):
        assert screen.written.wait(10), "nothing was told while the step went on"
    assert screen.getvalue() == "reading [the] tasks\n"


def test_a_quick_step_is_not_told() -> None:
    screen = io.StringIO()
    with told_if_slow(Console(file=screen), "reading the tasks", after=1000.0):
        pass
    assert screen.getvalue() == ""
