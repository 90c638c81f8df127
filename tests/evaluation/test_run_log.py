"""A run's log, and a disk that does not take it."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import pytest
from stored_runs import files_no_larger_than

from rollway.errors import UserError
from rollway.evaluation.captured import captured
from rollway.evaluation.run_log import logging_to


def test_a_log_that_cannot_be_opened_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write to .*: Is a directory"), logging_to(tmp_path):
        pass


def test_a_log_on_a_full_disk_is_told_of_once_and_ends_nothing(tmp_path: Path, capsys) -> None:
    file = tmp_path / "log.txt"
    with files_no_larger_than(10), logging_to(file):
        for _ in range(3):
            logging.getLogger("rollway.part").warning("something that does not fit")
    assert capsys.readouterr().err == f"rollway: cannot write to {file}: [Errno 27] File too large\n"


def test_logs_of_runs_that_overlap_hear_to_their_end_and_leave_levels_as_they_were(
    tmp_path: Path,
) -> None:
    ours, root = logging.getLogger("rollway"), logging.getLogger()
    before = ours.level, root.level
    first, second = ExitStack(), ExitStack()
    for name, held in ("first", first), ("second", second):
        held.enter_context(logging_to(tmp_path / name))
        held.enter_context(captured(lambda *note: None, shown=False))
    first.close()
    logging.getLogger("rollway.part").info("the first has ended")
    second.close()
    assert "the first has ended" in (tmp_path / "second").read_text()
    assert "the first has ended" not in (tmp_path / "first").read_text()
    assert (ours.level, root.level) == before
