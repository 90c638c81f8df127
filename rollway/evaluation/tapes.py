"""What stands around the tool calls of one rollout: a recorder, or the record of an earlier run.

A replay opens no sandbox before its rollout is scored; then it is the recorded one, and only where the
rollout stayed on its record to the end: what another path would have left, nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from rollway.tools.mcp import McpSource, encode_tool_list
from rollway.tools.replay import Recording, ToolRecorder, ToolReplayer, content_digest, encode_recording
from rollway.tools.sandboxes import Sandbox


class Recorded(msgspec.Struct, frozen=True):
    """The record of one rollout, as it is stored."""

    line: bytes  # an encoded `Recording`
    sandbox: bytes | None = None  # the snapshot that belongs to it
    tool_lists: dict[str, bytes] = {}  # those that it names and the receiver may lack, by digest

    @property
    def size(self) -> int:
        """Bytes, all but a few."""
        return len(self.line) + len(self.sandbox or b"") + sum(map(len, self.tool_lists.values()))


class KeptList(msgspec.Struct, frozen=True):
    """What an MCP server listed, as it is stored."""

    server: str
    digest: str
    content: bytes


def kept_lists(sources: Iterable[McpSource]) -> list[KeptList]:
    """What these servers listed."""
    contents = [(source.server.name, encode_tool_list(source.listed)) for source in sources]
    return [KeptList(name, content_digest(content), content) for name, content in contents]


class RecordingTape:
    """Keeps what every call was answered, the sandbox as it was left, and which tools MCP servers had."""

    def __init__(self, lists: Iterable[KeptList] = ()) -> None:
        self.execute = ToolRecorder()
        self._snapshot: bytes | None = None
        self._lists = list(lists)

    def add_lists(self, lists: Iterable[KeptList]) -> None:
        """Tools of servers that were started for this rollout; they stand behind those of the others."""
        self._lists += lists

    async def keep(self, sandbox: Sandbox) -> None:
        """Keep the sandbox's files as they are now."""
        self._snapshot = await sandbox.snapshot()

    def recorded(self, key: tuple[str, int], trajectory_id: str, told: set[str]) -> Recorded:
        """All that was kept.

        Args:
            told: digests of the lists that the receiver has, to which what goes along now is added.
        """
        recording = self.execute.recording(
            key,
            trajectory_id=trajectory_id,
            sandbox=self._snapshot is not None,
            mcp={one.server: one.digest for one in self._lists},
        )
        new = {one.digest: one.content for one in self._lists if one.digest not in told}
        told.update(new)
        return Recorded(encode_recording(recording), self._snapshot, new)


class ReplayTape:
    """Answers every call from the record."""

    def __init__(
        self, recording: Recording, snapshot: bytes | None, tool_lists: Mapping[str, bytes] | None = None
    ) -> None:
        self.execute = ToolReplayer(recording)
        self.snapshot = snapshot
        self.servers = recording.mcp
        self.tool_lists = tool_lists or {}  # those that only this rollout had

    @property
    def stayed_on_record(self) -> bool:
        """Did the rollout make just the calls that stand on record?"""
        told = self.execute.metadata()
        return told["left_at"] is None and not told["unused"]

    def metadata(self) -> dict[str, Any]:
        """For `Trajectory.metadata["replay"]`."""
        return self.execute.metadata()


Tape = RecordingTape | ReplayTape
