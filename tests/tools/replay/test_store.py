"""The recordings of a run on disk."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from rollway.errors import UserError
from rollway.tools import ExecutedCall
from rollway.tools.replay import (
    RecordedCall,
    Recording,
    RecordingWriter,
    encode_recording,
    read_recordings,
    sandbox_file,
)
from rollway.trajectory import ToolResult


def recording(task_id: str, sample: int = 0, content: str = "c", sandbox: bool = False) -> Recording:
    answer = ExecutedCall(ToolResult("id", "a", content, ok=True))
    name = sandbox_file((task_id, sample)) if sandbox else None
    return Recording(task_id, sample, [RecordedCall(1, 0, "a", "{}", answer)], sandbox=name)


def write(run: Path, *recordings: Recording, sandbox: bytes | None = None) -> None:
    writer = RecordingWriter(run)
    for entry in recordings:
        writer.append(entry.key, encode_recording(entry), sandbox)
    writer.close()


def test_what_was_written_is_found_by_its_key(tmp_path: Path) -> None:
    written = [recording(task, sample) for task in ("a", "b/ü\n", "") for sample in (0, 1)]
    write(tmp_path, *written)
    recordings = read_recordings(tmp_path)
    assert len(recordings) == 6
    assert [recordings[key] for key in recordings] == written
    assert ("b/ü\n", 1) in recordings


def test_a_torn_last_line_is_left_out_and_the_next_writer_begins_a_part_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, recording("a"), recording("b"))
    part = tmp_path / "recordings" / "part-00000.jsonl"
    part.write_bytes(part.read_bytes()[:-10])
    assert list(read_recordings(tmp_path)) == [("a", 0)]
    write(tmp_path, recording("b"), recording("c"))
    assert list(read_recordings(tmp_path)) == [("a", 0), ("b", 0), ("c", 0)]


def test_of_two_recordings_of_one_rollout_the_later_counts(tmp_path: Path) -> None:
    write(tmp_path, recording("a", content="failed"))
    write(tmp_path, recording("a", content="done again"))
    assert read_recordings(tmp_path)["a", 0] == recording("a", content="done again")


def test_a_part_that_is_full_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollway.tools.replay.store.PART_BYTES", 100)
    write(tmp_path, *(recording("a", sample) for sample in range(5)))
    assert len(list((tmp_path / "recordings").glob("part-*.jsonl"))) > 1
    recordings = read_recordings(tmp_path)
    assert [recordings["a", sample].sample_index for sample in range(5)] == list(range(5))


def test_snapshots_of_sandboxes_are_kept_apart_and_never_mixed(tmp_path: Path) -> None:
    keys = [("../../x", 0), ("../..", 1), ("a b", 0), ("a/b", 0), ("a" * 300, 0), ("a" * 300, 1)]
    for key in keys:
        write(tmp_path, recording(*key, sandbox=True), sandbox=repr(key).encode())
    write(tmp_path, recording("none"))
    recordings = read_recordings(tmp_path)
    assert [recordings.sandbox(key) for key in keys] == [repr(key).encode() for key in keys]
    assert recordings.sandbox(("none", 0)) is None
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent.parent == tmp_path / "recordings" for path in files if path.suffix == ".gz")
    (tmp_path / "recordings" / sandbox_file(keys[0])).unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        recordings.sandbox(keys[0])


def test_a_run_without_recordings_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no recordings to replay: [^\n]*; record a run first$"):
        read_recordings(tmp_path)


def test_a_rollout_without_a_recording_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, recording("a"))
    with pytest.raises(UserError, match=r"has no recording of task 'b', sample 3; replay the tasks"):
        read_recordings(tmp_path)["b", 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    write(tmp_path, recording("a"))
    part = tmp_path / "recordings" / "part-00000.jsonl"
    part.write_bytes(b'{"task_id": \n' + part.read_bytes())
    with pytest.raises(UserError, match=r"part-00000\.jsonl, line 1: no recording: "):
        read_recordings(tmp_path)
    part.write_bytes(b'{"task_id":"a","sample_index":0,"calls":7}\n')
    with pytest.raises(UserError, match=r"part-00000\.jsonl: the recording of task 'a', sample 0: Expected"):
        read_recordings(tmp_path)["a", 0]


def test_a_recording_of_a_later_version_is_refused(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path)
    writer.append(("a", 0), b'{"task_id":"a","sample_index":0,"calls":[],"schema_version":2}')
    writer.close()
    with pytest.raises(UserError, match="schema version 2; this version reads 1"):
        read_recordings(tmp_path)["a", 0]


def test_a_large_run_is_indexed_and_not_held(tmp_path: Path) -> None:
    write(tmp_path, *(recording("a", sample, content="x" * 100_000) for sample in range(200)))
    tracemalloc.start()
    recordings = read_recordings(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(recordings) == 200
    assert peak < 2_000_000  # of 20 MB


def test_nothing_is_made_where_nothing_is_recorded(tmp_path: Path) -> None:
    RecordingWriter(tmp_path).close()
    assert list(tmp_path.iterdir()) == []
