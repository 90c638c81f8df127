"""A run as a `datasets.Dataset`, and as Parquet or JSON Lines files.

The invariant: a few chunks of rollouts are held at a time, however large the run is, and a file is there
whole or not at all. The run itself is not changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rollway.data.nulls import without_null_members
from rollway.errors import UserError
from rollway.export.rows import row_of, schema
from rollway.scoring.stored import StoredRun
from rollway.trajectory import decode_trajectory
from rollway.whole_files import taking_the_place_of

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK_ROWS = 1024
CHUNK_BYTES = 8 * 2**20
"""The most that a chunk holds: rollouts, and about as many bytes of their lines."""

PART_BYTES = 512 * 2**20
"""Of the run's lines, in one file of a folder."""

ENDINGS = (".parquet", ".jsonl")

Row = dict[str, Any]
_Chunk = tuple[list[Row], int]  # rows, and the bytes of their lines
_ENCODER = msgspec.json.Encoder()


class Exported(msgspec.Struct):
    """What was written."""

    rollouts: int = 0
    sequences: int = 0
    tokens: int = 0  # of all sequences
    sampled_tokens: int = 0  # of them those that are to be trained on
    torn_lines: int = 0  # last lines of the run's files that a crash cut; left out


def to_dataset(run: Path | str) -> Dataset:
    """A run's rollouts as a ``datasets.Dataset`` in memory, as Arrow. See `rollway.export.rows.schema`.

    For a run that memory does not hold: `write_parquet`, and ``datasets.load_dataset("parquet", ...)``.

    Raises:
        UserError: there is no run, or a line of it is no trajectory.
    """
    import pyarrow
    from datasets import Dataset

    columns = schema()
    chunks = _Chunks(run)
    batches = [pyarrow.RecordBatch.from_pylist(rows, schema=columns) for rows, _ in chunks]
    return Dataset(pyarrow.Table.from_batches(batches, schema=columns))


def write_parquet(run: Path | str, path: Path | str) -> Exported:
    """Write a run's rollouts to one Parquet file; one that is there is replaced.

    Raises:
        UserError: there is no run, a line of it is no trajectory, or the file cannot be written.
    """
    chunks = _Chunks(run)
    with _cannot_be_written(path):
        _write_parquet(Path(path), iter(chunks))
    return chunks.exported


def write_parquet_folder(run: Path | str, folder: Path | str) -> Exported:
    """Write a run's rollouts to Parquet files in a new folder, ``part-00000.parquet`` and so on.

    Raises:
        UserError: as for `write_parquet`, or the folder has something in it.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already, and not empty: give another folder")
    chunks = _Chunks(run)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    with _cannot_be_written(folder):
        temporary.mkdir(parents=True)
        try:
            for number, part in enumerate(_parts(iter(chunks))):
                _write_parquet(temporary / f"part-{number:05d}.parquet", part)
            if not chunks.exported.rollouts:
                _write_parquet(temporary / "part-00000.parquet", iter(()))
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return chunks.exported


def write_jsonl(run: Path | str, path: Path | str) -> Exported:
    """Write a run's rollouts to one JSON Lines file, the columns as in Parquet; null members of nested
    records are left out. A file that is there is replaced.

    Raises:
        UserError: as for `write_parquet`.
    """
    chunks = _Chunks(run)
    with _cannot_be_written(path), taking_the_place_of(Path(path)) as file:
        for rows, _ in chunks:
            file.write(_ENCODER.encode_lines([without_null_members(row) for row in rows]))
    return chunks.exported


def export_run(run: Path | str, to: str, *, overwrite: bool = False) -> Exported:
    """Write a run's rollouts to what ``to`` names: a ``.parquet`` file, a ``.jsonl`` file, or a folder.

    Raises:
        UserError: it names none of these, is there already, or as for `write_parquet`.
    """
    path = Path(to).expanduser()
    if path.is_dir() or to.endswith("/") or not path.suffix:
        return write_parquet_folder(run, path)
    if path.suffix not in ENDINGS:
        raise UserError(f"--to {to}: give a file that ends in {' or '.join(ENDINGS)}, or a folder (NAME/)")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already: give another name, or --overwrite")
    return write_parquet(run, path) if path.suffix == ".parquet" else write_jsonl(run, path)


class _Chunks:
    """The rows of a run, a chunk at a time, with the bytes of their lines; counted as they pass.

    Raises:
        UserError: there is no run.
    """

    def __init__(self, run: Path | str) -> None:
        self.exported = Exported()
        self._run = StoredRun(Path(run))

    def __iter__(self) -> Iterator[_Chunk]:
        rows: list[Row] = []
        size = 0
        for stored in self._run.lines():
            rows.append(self._row(stored.line))
            size += len(stored.line)
            if len(rows) == CHUNK_ROWS or size >= CHUNK_BYTES:
                yield rows, size
                rows, size = [], 0
        self.exported.torn_lines = self._run.torn_lines
        if rows:
            yield rows, size

    def _row(self, line: bytes) -> Row:
        try:
            trajectory = decode_trajectory(line)
        except msgspec.DecodeError as error:
            raise UserError(f"{self._run.path}: a rollout cannot be read: {error}") from None
        done = self.exported
        done.rollouts += 1
        done.sequences += len(trajectory.sequences)
        done.tokens += sum(len(sequence.token_ids) for sequence in trajectory.sequences)
        done.sampled_tokens += sum(sum(sequence.loss_mask) for sequence in trajectory.sequences)
        return row_of(trajectory)


def _parts(chunks: Iterator[_Chunk]) -> Iterator[Iterator[_Chunk]]:
    """Chunks by the file that they go into. Each is to be used up before the next is asked for."""
    for first in chunks:
        yield _part(first, chunks)


def _part(chunk: _Chunk, following: Iterator[_Chunk]) -> Iterator[_Chunk]:
    left = PART_BYTES - chunk[1]
    yield chunk
    while left > 0 and (after := next(following, None)) is not None:
        left -= after[1]
        yield after


def _write_parquet(path: Path, chunks: Iterator[_Chunk]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = schema()
    with taking_the_place_of(path) as file, pyarrow.parquet.ParquetWriter(file, columns) as writer:
        for rows, _ in chunks:
            writer.write_batch(pyarrow.RecordBatch.from_pylist(rows, schema=columns))


@contextmanager
def _cannot_be_written(path: Path | str) -> Iterator[None]:
    """An ``OSError`` in the block is a mistake in where to, or a full disk."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
