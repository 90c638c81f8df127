"""What an environment's code prints and logs reaches the run's log and the screen, and costs it nothing."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stored_runs import files_no_larger_than

from rollway import Environment
from rollway.evaluation import evaluate_async
from rollway.evaluation.captured import Flood, Note, Shipment, captured, tell
from rollway.evaluation.run_log import logging_to

Config = Callable[..., Any]

TALKATIVE = """
import logging, sys, threading, warnings
logger = logging.getLogger("shop")


def talk():
    print("printed by the tool")


def right(trajectory, task):
    print("to stderr", file=sys.stderr)
    warnings.warn("the price is old", UserWarning)
    logger.info("%d sold", 3)
    logger.debug("not told")
    logging.getLogger("shop.till").warning("the till is %s", "open")
"""


@pytest.fixture
def talkative(edit_environment: Callable[[str, str], None]) -> None:
    edit_environment("def right(trajectory, task):\n", TALKATIVE)
    edit_environment("    return a + b", "    talk()\n    return a + b")


@pytest.fixture
def notes() -> list[Note]:
    return []


@pytest.fixture
def keep(notes: list[Note]) -> Callable[[int, str, str], None]:
    return lambda *note: notes.append(note)


def test_what_is_printed_is_kept_line_by_line_and_shown_as_before(
    notes: list[Note], keep, capsys: pytest.CaptureFixture[str]
) -> None:
    with captured(keep, shown=True):
        print("one", end=" ")
        print("line\nand another\n\n", end="")
        print("\r10%\r20%", file=sys.stderr)
        print("without an end", end="")
    assert notes == [
        (logging.INFO, "stdout", "one line"),
        (logging.INFO, "stdout", "and another"),
        (logging.INFO, "stderr", "20%"),
        (logging.INFO, "stdout", "without an end"),
    ]
    assert capsys.readouterr() == ("one line\nand another\n\nwithout an end", "\r10%\r20%\n")


def test_threads_do_not_tear_each_others_lines(notes: list[Note], keep) -> None:
    def say(word: str, mine: threading.Event, other: threading.Event) -> None:
        for part in (word, word, "\n"):
            assert mine.wait(10)
            mine.clear()
            sys.stdout.write(part)
            other.set()

    first, second = threading.Event(), threading.Event()
    with captured(keep, shown=False):
        threads = [
            threading.Thread(target=say, args=args) for args in (("a", first, second), ("b", second, first))
        ]
        for thread in threads:
            thread.start()
        first.set()
        for thread in threads:
            thread.join(10)
    assert [text for _, _, text in notes] == ["aa", "bb"]


def test_a_flood_is_cut_off_and_counted(notes: list[Note], keep) -> None:
    few = Flood(lines_a_second=3, line_characters=10)
    with captured(keep, shown=False, flood=few):
        print("x" * 25)
        for number in range(10_000):
            print(number)
    assert notes[0][2] == "xxxxxxxxxx... (15 characters more)"
    left_out = sum(
        int(found[1].replace(",", "")) for *_, text in notes if (found := re.match(r"([\d,]+) more", text))
    )
    kept = [text for _, name, text in notes if name == "stdout"]
    assert len(kept) + left_out == 10_001
    assert left_out > 5_000


def test_a_worker_keeps_a_bounded_number_of_notes_for_the_driver() -> None:
    shipment = Shipment(most=2)
    for number in range(5):
        shipment.keep(logging.INFO, "stdout", str(number))
    *kept, (_, _, told) = shipment.take()
    assert [text for *_, text in kept] == ["0", "1"]
    assert told == "3 more printed or logged lines are left out here"
    assert shipment.take() == []


def test_what_is_logged_is_kept_from_info_on_for_own_code_and_from_warning_on_for_libraries(
    notes: list[Note], keep, capsys: pytest.CaptureFixture[str]
) -> None:
    def log_as(file: str, name: str, level: int, text: str) -> None:
        logger = logging.getLogger(name)
        if logger.isEnabledFor(level):
            logger.handle(logger.makeRecord(name, level, file, 1, text, (), None))

    class Shop(Environment):
        __module__ = "my_package.tasks"

    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    library = f"{sys.prefix}/lib/python3/site-packages/http.py"
    with captured(keep, shown=True):
        log_as("/home/me/env.py", "anything", logging.INFO, "own code")
        log_as("/home/me/env.py", "anything", logging.DEBUG, "not this")
        log_as(library, "http", logging.INFO, "request sent")
        log_as(library, "http", logging.WARNING, "slow")
        log_as(library, "my_package.rules", logging.INFO, "installed, and the environment's own")
        log_as(os.__file__, "asyncio", logging.INFO, "not this")
        logging.getLogger("rollway.tools").warning("has its own way")
    assert [text for *_, text in notes] == ["own code", "slow", "installed, and the environment's own"]
    assert "WARNING http: slow\n" in capsys.readouterr().err
    assert (root.level, root.handlers) == before


def test_a_record_that_the_users_own_handler_shows_is_shown_and_kept_once(
    notes: list[Note], keep, capsys: pytest.CaptureFixture[str]
) -> None:
    with captured(keep, shown=True):
        mine = logging.StreamHandler()
        mine.setFormatter(logging.Formatter("mine: %(message)s"))
        logging.getLogger().addHandler(mine)
        logging.getLogger("shop").error("sold out")
        logging.getLogger().removeHandler(mine)
    assert notes == [(logging.INFO, "stderr", "mine: sold out")]
    assert capsys.readouterr().err == "mine: sold out\n"


def test_a_closed_screen_costs_whoever_prints_nothing(
    notes: list[Note], keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", None)
    with captured(keep, shown=True):
        print("kept", flush=True)
        print("kept too", file=sys.stderr)
    assert [text for *_, text in notes] == ["kept", "kept too"]
    assert sys.stdout is closed


def test_who_holds_the_stream_when_the_run_has_ended_still_prints(
    notes: list[Note], keep, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.stdout
    outer, inner = (captured(keep, shown=False) for _ in range(2))
    outer.__enter__()
    inner.__enter__()
    held = sys.stdout
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert sys.stdout is before, "whichever run ends first"
    print("late", file=held)
    assert notes == []
    assert capsys.readouterr().out == "late\n"


def test_a_consoles_own_lines_are_not_the_environments(
    notes: list[Note], keep, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    with captured(keep, shown=False):
        console.print("3/6 done")
    assert notes == []
    assert capsys.readouterr().out == "3/6 done\n"


def test_a_log_on_a_full_disk_raises_nothing_where_something_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with files_no_larger_than(10), logging_to(tmp_path / "log.txt"), captured(tell, shown=True):
        for _ in range(3):
            print("something that does not fit")
    out, err = capsys.readouterr()
    assert out == "something that does not fit\n" * 3
    assert err.count("File too large") == 1


@pytest.mark.filterwarnings("ignore:the price is old")
async def test_an_environments_words_are_in_the_runs_log_and_on_the_screen(
    talkative: None, policy, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = await evaluate_async(config(policy, tasks=1))
    assert summary.scored == 1
    log = (tmp_path / "run" / "log.txt").read_text()
    for line in (
        "INFO stdout: (this process) printed by the tool\n",
        "INFO stderr: (this process) to stderr\n",
        "INFO shop: (this process) 3 sold\n",
        "WARNING shop.till: (this process) the till is open\n",
    ):
        assert log.count(line) == 1, log
    assert "not told" not in log
    out, err = capsys.readouterr()
    assert out == "printed by the tool\n"
    assert "to stderr\n" in err
    assert "INFO shop: 3 sold\nWARNING shop.till: the till is open\n" in err


async def test_prints_do_not_tear_the_live_display(
    talkative: None, environment_file: Path, policy, tmp_path: Path
) -> None:
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rollway.cli", "eval", str(environment_file), "--base-url", policy.url),
        *("--out", str(tmp_path / "run")),
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    seen = await asyncio.to_thread(all_of, ours)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    text = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", seen.decode())
    lines = [line.split("\r")[-1] for line in text.split("\r\n")]
    assert lines.count("printed by the tool") == 6, text
    assert lines.count("INFO shop: 3 sold") == 6, text
    assert "UserWarning: the price is old\n" in (tmp_path / "run" / "log.txt").read_text()


def all_of(terminal: int) -> bytes:
    """What is written to the other end until it is closed."""
    seen = b""
    with suppress(OSError):
        while block := os.read(terminal, 65536):
            seen += block
    return seen
