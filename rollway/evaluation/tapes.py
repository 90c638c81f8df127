"""What stands around the tool calls of one rollout: a recorder, or the record of an earlier run.

A replay opens no sandbox before its rollout is scored; then it is the recorded one, and only where the
rollout stayed on its record to the end: what another path would have left, nobody knows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rollway.tools.replay import Recording, ToolRecorder, ToolReplayer, encode_recording
from rollway.tools.sandboxes import Sandbox


class Recorded(msgspec.Struct, frozen=True):
    """The record of one rollout, as it is stored."""

    line: bytes  # an encoded `Recording`
    sandbox: bytes | None = None  # the snapshot that belongs to it


class RecordingTape:
    """Keeps what every call was answered, and the sandbox as the rollout left it."""

    def __init__(self) -> None:
        self.execute = ToolRecorder()
        self._snapshot: bytes | None = None

    async def keep(self, sandbox: Sandbox) -> None:
        """Keep the sandbox's files as they are now."""
        self._snapshot = await sandbox.snapshot()

    def recorded(self, key: tuple[str, int], trajectory_id: str) -> Recorded:
        """All that was kept."""
        kept = self._snapshot is not None
        recording = self.execute.recording(key, trajectory_id=trajectory_id, sandbox=kept)
        return Recorded(encode_recording(recording), self._snapshot)


class ReplayTape:
    """Answers every call from the record."""

    def __init__(self, recording: Recording, snapshot: bytes | None) -> None:
        self.execute = ToolReplayer(recording)
        self.snapshot = snapshot

    @property
    def stayed_on_record(self) -> bool:
        """Did the rollout make just the calls that stand on record?"""
        told = self.execute.metadata()
        return told["left_at"] is None and not told["unused"]

    def metadata(self) -> dict[str, Any]:
        """For `Trajectory.metadata["replay"]`."""
        return self.execute.metadata()


Tape = RecordingTape | ReplayTape
