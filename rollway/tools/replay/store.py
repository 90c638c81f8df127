"""The recordings of a run, in ``recordings/`` of its directory: ``part-*.jsonl``, ``sandboxes/``, ``mcp/``.

One writer at a time. A line is whole or, where a crash cut it, the last of its part; of two lines with one
key the later counts, because a failed rollout is retried. Readers hold where each line begins, never the
lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from rollway.errors import UserError
from rollway.tools.replay.records import (
    Key,
    Recording,
    content_digest,
    decode_recording,
    sandbox_file,
    tool_list_file,
)
from rollway.whole_files import write_whole

_Place = tuple[Path, int, int, Mapping[str, str] | None]  # file, offset, bytes, `Recording.mcp`

PART_BYTES = 256 * 2**20
"""A part that has grown beyond this is closed and the next begun."""


class RecordingWriter:
    """Appends to the recordings of a run. Makes nothing before the first; each writer has its own part."""

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / "recordings"
        self._part: IO[bytes] | None = None
        self._kept_lists: set[str] = set()

    def keep_tool_lists(self, lists: Mapping[str, bytes]) -> None:
        """Keep what MCP servers listed, by digest, before the recordings that name it. One that is there is
        not written again.

        Raises:
            OSError: as `append`.
        """
        for digest, data in lists.items():
            if digest in self._kept_lists:
                continue
            path = self._folder / tool_list_file(digest)
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, data)
            self._kept_lists.add(digest)

    def append(self, key: Key, line: bytes, sandbox: bytes | None = None) -> None:
        """Write an encoded recording, after the snapshot that belongs to it.

        Raises:
            OSError: the disk is full, say. What was written before stays readable.
        """
        if sandbox is not None:
            self._keep(key, sandbox)
        if self._part is not None and self._part.tell() >= PART_BYTES:
            self.close()
        if self._part is None:
            self._part = self._next_part().open("xb", buffering=0)
        data = line + b"\n"
        try:
            while data:
                data = data[self._part.write(data) :]
        except OSError:
            self._part.close()  # nothing may follow half a line
            self._part = None
            raise

    def close(self) -> None:
        """Bring everything to the disk."""
        if self._part is not None:
            os.fsync(self._part.fileno())
            self._part.close()
            self._part = None

    def _keep(self, key: Key, sandbox: bytes) -> None:
        path = self._folder / sandbox_file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, sandbox, to_disk=False)  # one for each rollout: a disk takes its time

    def _next_part(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        parts = _parts(self._folder)
        number = int(parts[-1].stem.removeprefix("part-")) + 1 if parts else 0
        return self._folder / f"part-{number:05d}.jsonl"


class Recordings:
    """The recordings of a run, by key. Made by `read_recordings`."""

    def __init__(self, run_directory: Path, places: dict[Key, _Place]) -> None:
        self._run = run_directory
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __getitem__(self, key: Key) -> Recording:
        """The recording of a rollout.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        try:
            return decode_recording(self.line(key))
        except msgspec.DecodeError as error:
            raise UserError(f"{self._places[key][0]}: the recording of {_named(key)}: {error}") from None

    def line(self, key: Key) -> bytes:
        """The encoded recording, for another process.

        Raises:
            UserError: there is none.
        """
        if key not in self._places:
            raise UserError(
                f"{self._run} has no recording of {_named(key)}; replay recorded tasks and samples"
            )
        path, offset, size, _ = self._places[key]
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def servers(self, key: Key) -> Mapping[str, str] | None:
        """As `Recording.mcp`, without reading the rollout's line again. The same object for rollouts that had
        the same."""
        return self._places[key][3]

    def tool_list(self, digest: str) -> bytes:
        """What an MCP server listed.

        Raises:
            UserError: it is gone, or is not what was kept.
        """
        path = self._tool_list_path(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        if content_digest(data) != digest:
            raise UserError(f"{path} is not the stored list of tools: its content has changed")
        return data

    def refuse_lost_tool_list(self, digest: str) -> None:
        """See that a list is there, without reading it.

        Raises:
            UserError: it is gone.
        """
        path = self._tool_list_path(digest)
        if not path.is_file():
            raise UserError(f"{path} is missing: it holds the tools of an MCP server of the recorded run")

    def _tool_list_path(self, digest: str) -> Path:
        return self._run / "recordings" / tool_list_file(digest)

    def sandbox(self, key: Key) -> bytes | None:
        """The last snapshot of the rollout's sandbox; ``None`` when none was kept.

        Raises:
            UserError: there is no recording, or its snapshot is gone.
        """
        name = self[key].sandbox
        if name is None:
            return None
        path = self._run / "recordings" / sandbox_file(key)
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None


def read_recordings(run_directory: Path | str) -> Recordings:
    """Find the recordings of a run. A torn last line is left out.

    Raises:
        UserError: there are none, or another line is no recording.
    """
    run = Path(run_directory)
    places: dict[Key, _Place] = {}
    known: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for part in _parts(run / "recordings"):
        for head, offset, size in _lines(part):
            mcp = head.mcp and known.setdefault(tuple(head.mcp.items()), head.mcp)
            places[head.task_id, head.sample_index] = (part, offset, size, mcp)
    if not places:
        raise UserError(
            f"{run} has no recordings to replay; record a run with --record-tools (trajectories alone do "
            "not tell which call ended a rollout)"
        )
    return Recordings(run, places)


class _Head(msgspec.Struct):
    """As much of a line as is needed to find it again. The rest is skipped, not decoded."""

    task_id: str
    sample_index: int
    mcp: dict[str, str] | None = None


_HEAD_DECODER = msgspec.json.Decoder(_Head)


def _lines(part: Path) -> Iterator[tuple[_Head, int, int]]:
    offset = 0
    with part.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                head = _HEAD_DECODER.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if not line.endswith(b"\n"):
                    return
                raise UserError(f"{part}, line {number}: not a recording: {error}") from None
            yield head, offset, len(line)
            offset += len(line)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.jsonl"))


def _named(key: Key) -> str:
    return f"task {key[0]!r}, sample {key[1]}"
