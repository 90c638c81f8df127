"""The command line in this process: exit code, what was printed, and the one line of a complaint."""

from __future__ import annotations

import threading
from asyncio import Event, new_event_loop
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import ScriptedServer, reply

from rollway.cli import main

ENVIRONMENT = """
from rollway import Environment


def polite(trajectory, task):
    return "hello" in (trajectory.messages[-1]["content"] or "")


class Greeting(Environment):
    rewards = [polite]

    def tasks(self, split):
        return [{"task_id": f"{split}-{n}"} for n in range(3)]

    def prompt(self, task):
        return [{"role": "user", "content": "Say hello."}]
"""


@pytest.fixture
def environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a user's file in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "greeting.py").write_text(ENVIRONMENT)
    return "greeting.py"


@pytest.fixture
def server_url() -> Iterator[str]:
    """A model that says hello, on a loop of its own: commands bring theirs."""
    loop, ready, done = new_event_loop(), threading.Event(), Event()
    server = ScriptedServer(lambda request: reply("hello"))

    async def serve() -> None:
        async with server:
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    yield server.url
    loop.call_soon_threadsafe(done.set)
    thread.join(60)
    loop.close()


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must end with exit code 2 and one line; returns the line."""

    def complaint(*arguments: str) -> str:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("rollway: ")
        return captured.err.removeprefix("rollway: ").rstrip()

    return complaint
