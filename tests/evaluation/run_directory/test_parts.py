"""The files of a run: read past a crash, written anew only where something changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import keys, line, opened

from rollway.errors import UserError
from rollway.evaluation.run_directory import part_files


@given(cut=st.integers(0, 400))
@settings(max_examples=25)
def test_a_part_cut_at_any_byte_loses_only_the_line_that_was_cut(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("run")
    written = [("a", 0), ("a", 1), ("b", 0)]
    with opened(path) as run:
        for key in written:
            run.append(key, line(key))
    part = part_files(path)[0]
    whole = part.read_bytes()
    part.write_bytes(whole[: min(cut, len(whole))])
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    survivors = [key for key, end in zip(written, ends, strict=True) if end <= cut]
    with opened(path) as run:
        assert sorted(run.done) == sorted(survivors)
        for key in written:
            if key not in run.done:
                run.append(key, line(key))
    assert sorted(keys(path)) == sorted(written)
    assert all(part.read_bytes().endswith(b"\n") for part in part_files(path) if part.stat().st_size)


def test_a_part_that_needs_no_change_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
    part = part_files(tmp_path)[0]
    before = part.stat().st_ino
    opened(tmp_path).close()
    assert part.stat().st_ino == before


def test_reading_goes_on_in_the_next_part_after_a_torn_last_line(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.append(("a", 0), line(("a", 0)))
    first = part_files(tmp_path)[0]
    first.write_bytes(first.read_bytes() + line(("a", 1))[:40])
    first.with_name("part-00001.jsonl").write_bytes(line(("b", 0)) + b"\n")
    assert keys(tmp_path) == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("torn", [line(("a", 1))[:40], line(("a", 1)).replace("é".encode(), b"\xc3")])
def test_a_torn_line_that_others_follow_is_refused(torn: bytes, tmp_path: Path) -> None:
    opened(tmp_path).close()
    part = tmp_path / "trajectories" / "part-00000.jsonl"
    part.write_bytes(b"\n".join([line(("a", 0)), torn, line(("b", 0)), b""]))
    with pytest.raises(UserError, match=r"part-00000.jsonl, line 2: not a trajectory"):
        keys(tmp_path)
