"""The recordings of a run on disk."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from msgspec.structs import replace

from rollway.errors import UserError
from rollway.tools import ExecutedCall
from rollway.tools.replay import (
    RecordedCall,
    Recording,
    RecordingWriter,
    content_digest,
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
    with pytest.raises(
        UserError, match=r"has no recordings to replay; record a run with --record-tools [^\n]*$"
    ):
        read_recordings(tmp_path)


def test_a_rollout_without_a_recording_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, recording("a"))
    with pytest.raises(UserError, match=r"has no recording of task 'b', sample 3; replay recorded tasks"):
        read_recordings(tmp_path)["b", 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    write(tmp_path, recording("a"))
    part = tmp_path / "recordings" / "part-00000.jsonl"
    part.write_bytes(b'{"task_id": \n' + part.read_bytes())
    with pytest.raises(UserError, match=r"part-00000\.jsonl, line 1: not a recording: "):
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


LIST = b'[{"name":"a","description":"","input_schema":{}}]'


def test_a_list_of_tools_is_kept_once_by_any_number_of_writers_and_a_spoilt_one_is_mended(
    tmp_path: Path,
) -> None:
    digest = content_digest(LIST)
    file = tmp_path / "recordings" / "mcp" / f"{digest}.json"
    writer = RecordingWriter(tmp_path)
    writer.keep_tool_lists({digest: LIST})
    kept = file.stat()
    writer.keep_tool_lists({digest: LIST})
    RecordingWriter(tmp_path).keep_tool_lists({digest: LIST})
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    file.write_bytes(b"")  # as by a machine that lost its power
    RecordingWriter(tmp_path).keep_tool_lists({digest: LIST})
    assert [path.read_bytes() for path in file.parent.iterdir()] == [LIST]
    write(tmp_path, recording("a"))
    assert read_recordings(tmp_path).tool_list(digest) == LIST


def test_which_lists_rollouts_had_is_found_by_their_keys_and_held_once(tmp_path: Path) -> None:
    entry = recording("a")
    had = [None, {}, {"x": "1", "y": "2"}, {"x": "1", "y": "2"}, {"y": "2", "x": "1"}]
    write(tmp_path, *(replace(entry, sample_index=n, mcp=mcp) for n, mcp in enumerate(had)))
    recordings = read_recordings(tmp_path)
    found = [recordings.servers(("a", n)) for n in range(5)]
    assert found == had
    assert found[2] is found[3]
    assert [list(found[n] or ()) for n in (3, 4)] == [["x", "y"], ["y", "x"]]
    assert [recordings["a", n].mcp for n in range(5)] == had


def test_a_list_that_is_gone_or_changed_is_one_line(tmp_path: Path) -> None:
    digest = content_digest(LIST)
    writer = RecordingWriter(tmp_path)
    writer.keep_tool_lists({digest: LIST})
    write(tmp_path, recording("a"))
    recordings = read_recordings(tmp_path)
    file = tmp_path / "recordings" / "mcp" / f"{digest}.json"
    file.write_bytes(LIST + b" ")
    with pytest.raises(UserError, match=r"\.json is not the stored list of tools"):
        recordings.tool_list(digest)
    file.unlink()
    with pytest.raises(UserError, match=r"\.json cannot be read: No such file"):
        recordings.tool_list(digest)
    with pytest.raises(UserError, match=r"\.json is missing"):
        recordings.refuse_lost_tool_list(digest)
