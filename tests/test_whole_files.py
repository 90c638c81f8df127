"""A file is there whole or not at all, and a disk that is full leaves the old one."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_runs import files_no_larger_than

from rollway.whole_files import taking_the_place_of, write_whole


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_whole(file, b"old")
    with files_no_larger_than(10), pytest.raises(OSError, match="File too large"):
        write_whole(file, b"new" * 10)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"


def test_a_fault_while_it_is_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), taking_the_place_of(file) as new:
        new.write(b"half" * (1 // 0))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"
