"""A run as a dataset and as files: every rollout once, one schema for all runs, and nothing rewritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
import pytest
from sample_trajectories import failed_trajectory, make_trajectory, trajectory_with_tool_error

from rollway.cli import main
from rollway.data.nulls import without_null_members
from rollway.errors import UserError
from rollway.export import export_run, runs, to_dataset, write_jsonl, write_parquet, write_parquet_folder
from rollway.export.rows import schema
from rollway.trajectory import Parent, TokenSequence, Trajectory, encode_trajectory

SEQUENCE = TokenSequence(
    token_ids=[5, 6, 7],
    loss_mask=[0, 1, 1],
    turn_index=[0, 0, 1],
    logprobs=[0.0, -0.1, -1e-9],
    weight_versions=["w1", None, "w2"],
)
BARE = TokenSequence(token_ids=[5], loss_mask=[0], turn_index=[0])
RAW = '{"a": 2,  "b":3'


def record(path: Path, *parts: list[Trajectory]) -> Path:
    """A run directory with these parts."""
    (path / "trajectories").mkdir(parents=True)
    for number, part in enumerate(parts):
        file = path / "trajectories" / f"part-{number:05d}.jsonl"
        file.write_bytes(b"".join(encode_trajectory(trajectory) + b"\n" for trajectory in part))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The first rollout has failed, and so is null in most columns."""
    odd = make_trajectory("t1", 1)
    odd.messages[2]["tool_calls"][0]["function"]["arguments"] = RAW
    odd.messages[1] = {"role": "user", "content": [{"type": "text", "text": "Hi"}], "mood": "good"}
    rich = make_trajectory(
        "t1",
        0,
        sequences=[SEQUENCE, BARE],
        advantage=0.5,
        metrics={"calls": 1.0},
        parent=Parent("x", 2),
        metadata={"note": "é"},
        seed=7,
    )
    return record(tmp_path / "run", [failed_trajectory()], [rich, odd, trajectory_with_tool_error("t2")])


def test_every_format_reads_back_as_the_same_rows(run: Path, tmp_path: Path) -> None:
    dataset = to_dataset(run)
    assert [row["id"] for row in dataset] == ["t0-0", "t1-0", "t1-1", "t2-0"]
    for write, name in ((write_parquet, "a.parquet"), (write_parquet_folder, "a")):
        done = write(run, tmp_path / name)
        assert (done.rollouts, done.sequences, done.tokens, done.sampled_tokens) == (4, 2, 4, 2)
        source = {"data_files" if name.endswith("parquet") else "data_dir": str(tmp_path / name)}
        read = datasets.load_dataset("parquet", **source, split="train", cache_dir=str(tmp_path / "cache"))
        assert read.features == dataset.features
        assert read.to_list() == dataset.to_list()
    write_jsonl(run, tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()]
    assert lines == [without_null_members(row) for row in dataset.to_list()]


def test_a_row_holds_what_the_rollout_held(run: Path) -> None:
    failed, rich, odd, wrong = to_dataset(run).to_list()
    assert (failed["stop_reason"], failed["reward"], failed["rewards"]) == ("model_error", None, [])
    assert failed["error"] == {"kind": "ServerUnreachable", "message": "no answer", "where": "model"}
    assert [TokenSequence(**sequence) for sequence in rich["sequences"]] == [SEQUENCE, BARE]
    assert (rich["advantage"], rich["rewards"]) == (0.5, [{"name": "right", "value": 1.0}])
    assert (rich["parent"], json.loads(rich["metadata"])) == (
        {"trajectory_id": "x", "turn": 2},
        {"note": "é"},
    )
    assert rich["messages"][2]["reasoning_content"] == "I should add."
    assert odd["messages"][2]["tool_calls"][0]["function"]["arguments"] == RAW
    assert odd["messages"][1]["content"] is None
    assert json.loads(odd["messages"][1]["other"]) == {
        "content": [{"type": "text", "text": "Hi"}],
        "mood": "good",
    }
    assert wrong["tool_errors"][0]["kind"] == "invalid_arguments"
    assert wrong["turns"][0]["completion_tokens"] == 3


def test_the_schema_does_not_depend_on_what_a_run_holds(run: Path, tmp_path: Path) -> None:
    write_parquet(run, tmp_path / "whole.parquet")
    write_parquet(record(tmp_path / "nothing", []), tmp_path / "nothing.parquet")
    write_parquet_folder(tmp_path / "nothing", tmp_path / "folder")
    write_parquet(record(tmp_path / "failed", [failed_trajectory()]), tmp_path / "failed.parquet")
    for file in ("whole.parquet", "nothing.parquet", "folder/part-00000.parquet", "failed.parquet"):
        assert pyarrow.parquet.read_schema(tmp_path / file).equals(schema())


def test_a_large_run_is_written_a_chunk_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = record(tmp_path / "run", [make_trajectory(f"t{n}") for n in range(10)])
    size = (run / "trajectories" / "part-00000.jsonl").stat().st_size
    monkeypatch.setattr(runs, "CHUNK_ROWS", 2)
    monkeypatch.setattr(runs, "PART_BYTES", size // 3)
    write_parquet(run, tmp_path / "a.parquet")
    assert pyarrow.parquet.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 5
    write_parquet_folder(run, tmp_path / "a")
    names = [file.name for file in sorted((tmp_path / "a").iterdir())]
    assert names == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert [row["task_id"] for row in to_dataset(run)] == [f"t{n}" for n in range(10)]


def test_a_torn_last_line_is_left_out_and_counted(run: Path, tmp_path: Path) -> None:
    part = run / "trajectories" / "part-00001.jsonl"
    part.write_bytes(part.read_bytes()[:-20])
    done = write_parquet(run, tmp_path / "a.parquet")
    assert (done.rollouts, done.torn_lines) == (3, 1)


def test_an_export_that_fails_leaves_the_old_file_and_no_scraps(run: Path, tmp_path: Path) -> None:
    part = run / "trajectories" / "part-00001.jsonl"
    part.write_bytes(part.read_bytes() + b'{"schema_version": 99, "id": "x", "messages": []}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jsonl").write_text("old")
    for to in ("a.jsonl", "b.parquet", "c"):
        with pytest.raises(UserError, match=r"run: a rollout cannot be read: .* schema version 99"):
            export_run(run, str(tmp_path / "out" / to), overwrite=True)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.jsonl"]
    assert (tmp_path / "out" / "a.jsonl").read_text() == "old"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("a.csv", "--to a.csv: give a file that ends in .parquet or .jsonl, or a folder (NAME/)"),
        ("there.parquet", "there.parquet is there already: give another name, or --overwrite"),
        ("run", "run is there already, and not empty: give another folder"),
        ("no/folder/a.parquet", "cannot write no/folder/a.parquet: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(
    to: str, expected: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(run.parent)
    Path("there.parquet").write_text("")
    assert main(["export", "run", "--to", to]) == 2
    assert capsys.readouterr().err == f"rollway: {expected}\n"


def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["export", str(run), "--to", f"{tmp_path}/a.parquet"]) == 0
    told = "4 rollouts, 2 sequences, 4 tokens of which 2 were sampled"
    assert capsys.readouterr().out == f"{told}: {tmp_path}/a.parquet\n"
    assert main(["export", str(run), "--to", f"{tmp_path}/a.parquet", "--overwrite"]) == 0
    assert main(["export", str(tmp_path / "ran"), "--to", f"{tmp_path}/b.parquet"]) == 2
    assert "(did you mean 'run'?)" in capsys.readouterr().err
