"""What tools answered in one rollout. Data only: one JSON line each, equal when read back."""

from __future__ import annotations

import hashlib
import re

import msgspec

from rollway.tools.execution import ExecutedCall

Key = tuple[str, int]
"""(task_id, sample_index): the key of a rollout in a run."""

SCHEMA_VERSION = 1


class RecordedCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call as the model wrote it, and what came of it."""

    turn: int  # 1-based
    position: int  # among the calls of the turn that could be run, 0-based
    name: str
    arguments: str  # the raw text
    answer: ExecutedCall | None = None  # None: the rollout ended while the tool ran


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """All calls of one rollout, in the order of turns and of the calls in them."""

    task_id: str
    sample_index: int
    calls: list[RecordedCall]
    trajectory_id: str = ""
    sandbox: str | None = (
        None  # the file with its last snapshot, below the recordings; None when there is none
    )
    mcp: dict[str, str] | None = None
    """By name of each MCP server, in the order of their tools: the digest of what it listed, which is kept
    once for all. One that had not listed anything when the rollout ended is missing; None: nobody looked."""
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> Key:
        return (self.task_id, self.sample_index)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Recording)


def encode_recording(recording: Recording) -> bytes:
    """One line of JSON, without the newline."""
    return _ENCODER.encode(recording)


def decode_recording(line: bytes) -> Recording:
    """Read back what `encode_recording` wrote.

    Raises:
        msgspec.DecodeError: the line is no whole recording, or one of a later version.
    """
    recording = _DECODER.decode(line)
    if recording.schema_version != SCHEMA_VERSION:
        raise msgspec.ValidationError(
            f"the recording has schema version {recording.schema_version}; "
            f"this version reads {SCHEMA_VERSION}"
        )
    return recording


def sandbox_file(key: Key) -> str:
    """Where the last snapshot of a rollout's sandbox is kept, below the recordings. No two keys share it."""
    task_id, sample = key
    words = re.sub(r"[^A-Za-z0-9_-]+", "_", task_id)[:60]
    digest = hashlib.blake2b(task_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"sandboxes/{words}-{digest}-{sample}.tar.gz"


def content_digest(data: bytes) -> str:
    """The name of what is kept once for all rollouts that have it."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def tool_list_file(digest: str) -> str:
    """Where the list of tools of this digest is kept, below the recordings."""
    return f"mcp/{digest}.json"
