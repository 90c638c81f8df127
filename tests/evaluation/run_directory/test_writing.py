"""An open run: each key once, in a whole line, whatever a write ends in."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from stored_runs import CONFIG, files_no_larger_than, keys, line, opened

from rollway.errors import UserError
from rollway.evaluation.run_directory import Wanted, open_run, part_files, writing


def test_what_was_appended_is_there_when_the_run_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
        run.append(("a", 1), line(("a", 1)))
    with opened(tmp_path) as run:
        assert run.done == {("a", 0), ("a", 1)}
        run.append(("b", 0), line(("b", 0)))
    assert keys(tmp_path) == [("a", 0), ("a", 1), ("b", 0)]


def test_a_key_cannot_be_written_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
        with pytest.raises(ValueError, match="already on disk"):
            run.append(("a", 0), line(("a", 0)))


def test_parts_are_closed_when_they_have_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PART_BYTES", 10)
    with opened(tmp_path) as run:
        for sample in range(3):
            run.append(("a", sample), line(("a", sample)))
    assert [part.name for part in part_files(tmp_path)] == [f"part-0000{n}.jsonl" for n in range(3)]
    assert keys(tmp_path) == [("a", 0), ("a", 1), ("a", 2)]


def test_a_full_part_goes_to_the_disk_while_the_next_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, synced = threading.Event(), []

    def fsync(file: int) -> None:
        assert threading.current_thread() is threading.main_thread() or slow.wait(20)
        synced.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)

    monkeypatch.setattr(writing, "PART_BYTES", 10)
    monkeypatch.setattr(os, "fsync", fsync)
    with opened(tmp_path) as run:
        del synced[:]  # of the config
        run.append(("a", 0), line(("a", 0)))
        run.append(("a", 1), line(("a", 1)))
        assert keys(tmp_path) == [("a", 0), ("a", 1)]
        assert synced == []
        slow.set()
    assert sorted(synced) == ["part-00000.jsonl", "part-00001.jsonl"]


def test_a_part_that_does_not_reach_the_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened(tmp_path)

    def fsync(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith("part-00000.jsonl"):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(writing, "PART_BYTES", 10)
    monkeypatch.setattr(os, "fsync", fsync)
    run.append(("a", 0), line(("a", 0)))
    run.append(("a", 1), line(("a", 1)))
    with pytest.raises(OSError, match="Input/output"):
        run.append(("a", 2), line(("a", 2)))
    run.append(("a", 2), line(("a", 2)))
    run.close()
    assert keys(tmp_path) == [("a", 0), ("a", 1), ("a", 2)]


def test_half_a_line_is_cut_off_again_and_the_part_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
        size = part_files(tmp_path)[0].stat().st_size
        with files_no_larger_than(size + 20), pytest.raises(OSError, match="File too large"):
            run.append(("a", 1), line(("a", 1)))
        assert part_files(tmp_path)[0].stat().st_size == size
        assert keys(tmp_path) == [("a", 0)]
        run.append(("b", 0), line(("b", 0)))
        run.append(("a", 1), line(("a", 1)))
    assert len(part_files(tmp_path)) == 1
    assert keys(tmp_path) == [("a", 0), ("b", 0), ("a", 1)]


def test_a_disk_too_full_to_clear_away_is_told_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
    part = part_files(tmp_path)[0]
    torn = line(("a", 1), metadata={"long": "x" * 5_000})[:-1]
    part.write_bytes(part.read_bytes() + torn)
    with open_run(tmp_path, CONFIG) as run, files_no_larger_than(4_000):
        run.take_stock(Wanted(lambda key: True))
        with pytest.raises(UserError, match=r"cannot write to the run directory .*: File too large"):
            run.clear_away()
    assert part.read_bytes().endswith(torn)
    assert (tmp_path / "set_aside.jsonl").read_bytes() == b""
    with opened(tmp_path) as run:
        assert run.done == {("a", 0)}
    assert (tmp_path / "set_aside.jsonl").read_bytes() == torn + b"\n"


def test_nothing_is_glued_to_half_a_line_that_cannot_be_cut_off(tmp_path: Path) -> None:
    with opened(tmp_path) as run, Path("/dev/full").open("wb", buffering=0) as full:
        run.append(("a", 0), line(("a", 0)))
        assert run._part is not None
        run._part.close()
        run._part = full
        with pytest.raises(OSError, match="No space left"):
            run.append(("a", 1), line(("a", 1)))
        run.append(("b", 0), line(("b", 0)))
    assert len(part_files(tmp_path)) == 2
    assert keys(tmp_path) == [("a", 0), ("b", 0)]
