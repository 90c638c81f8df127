"""Every try that failed is on record, in whole lines, over all sittings of a run."""

from __future__ import annotations

from pathlib import Path

from rollway.evaluation.run_directory.attempts import (
    MOST_MESSAGE,
    AttemptRecord,
    AttemptsWriter,
    in_short,
    read_attempts,
)


def attempt(number: int) -> AttemptRecord:
    return AttemptRecord(
        "t", 0, number, "process 1 on a", "a", "server", "ServerUnreachable", "gone", 1.5, 0.0, again=True
    )


def test_what_was_written_is_read_back_in_order(tmp_path: Path) -> None:
    assert list(read_attempts(tmp_path)) == []
    for sitting in (0, 2):
        writer = AttemptsWriter(tmp_path)
        for number in (1, 2):
            writer.append(attempt(sitting + number))
        writer.close()
    assert list(read_attempts(tmp_path)) == [attempt(number) for number in (1, 2, 3, 4)]


def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "attempts.jsonl"
    writer = AttemptsWriter(tmp_path)
    writer.append(attempt(1))
    writer.close()
    with file.open("ab") as torn:
        torn.write(file.read_bytes()[:20])
    writer = AttemptsWriter(tmp_path)
    writer.append(attempt(2))
    writer.close()
    assert list(read_attempts(tmp_path)) == [attempt(1), attempt(2)]


def test_no_file_is_made_while_nothing_fails(tmp_path: Path) -> None:
    AttemptsWriter(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_a_long_message_is_one_line_that_is_cut() -> None:
    assert in_short("a\n  b") == "a b"
    assert len(in_short("x" * 10_000)) == MOST_MESSAGE + 3
