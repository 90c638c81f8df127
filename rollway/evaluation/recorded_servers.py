"""The MCP servers of a replay: their tools are those that they listed in the recorded run; none is started.

A list that several rollouts had goes to every worker once, beside its config. One that a single rollout had
travels with that rollout's job, so that thousands of different ones are held nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rollway.errors import UserError
from rollway.keys import Key
from rollway.tools.mcp import McpServer, RecordedSource, decode_tool_list, recorded_source
from rollway.tools.replay import Recordings


class ReplayedLists(msgspec.Struct, frozen=True):
    """What the servers of a replay listed, as the driver hands it out. Made by `find_lists`."""

    shared: dict[str, bytes]  # by digest: for every worker
    recordings: Recordings
    example: Mapping[str, str]  # by server, the digests that a rollout with all of the servers had

    def beside(self, key: Key) -> dict[str, bytes]:
        """What goes along with a job: the lists that no other rollout had.

        Raises:
            UserError: as `Recordings.tool_list`.
        """
        had = self.recordings.servers(key) or {}
        return {
            digest: self.recordings.tool_list(digest) for digest in had.values() if digest not in self.shared
        }

    def sources(self, servers: Sequence[McpServer]) -> list[RecordedSource]:
        """The servers' tools, as a rollout with all of them had them.

        Raises:
            UserError: a list is gone, or its tools cannot be used.
        """
        lists = {digest: self.recordings.tool_list(digest) for digest in self.example.values()}
        return RecordedServers(servers, lists).sources(self.example, {})


def find_lists(
    servers: Sequence[McpServer], recordings: Recordings, keys: Iterable[Key]
) -> ReplayedLists | None:
    """What the servers of a replay listed in the recorded run; ``None``: that was not kept, and they have to
    be started for it.

    Raises:
        UserError: the servers are not those of the recorded run, or what one listed is gone.
    """
    rollouts: Counter[str] = Counter()  # by digest
    example: Mapping[str, str] = {}
    recorded: dict[str, None] = {}  # names, in order
    for key in keys:
        had = recordings.servers(key)
        if had is None:
            return None
        rollouts.update(had.values())
        recorded |= dict.fromkeys(had)
        if len(had) > len(example):
            example = had
    _refuse_other_servers([server.name for server in servers], list(recorded))
    for digest in rollouts:
        recordings.refuse_lost_tool_list(digest)
    shared = {digest: recordings.tool_list(digest) for digest, count in rollouts.items() if count > 1}
    return ReplayedLists(shared, recordings, example)


def _refuse_other_servers(named: Sequence[str], recorded: Sequence[str]) -> None:
    told = ", ".join(repr(name) for name in recorded) or "no MCP server"
    for name in named:
        if name not in recorded:
            raise UserError(
                f"tools.replay: the recorded run has no tools of MCP server {name!r}, only those of "
                f"{told}; list the same servers under tools.mcp"
            )
    for name in recorded:
        if name not in named:
            raise UserError(
                f"tools.replay: the recorded run had tools of MCP server {name!r}; list it under tools.mcp, "
                "as in that run's config.yaml (it is not started)"
            )


class RecordedServers:
    """Makes tools of lists, in a worker. What is made of a list that is shared is made once."""

    def __init__(self, servers: Iterable[McpServer], shared: Mapping[str, bytes]) -> None:
        self._servers = {server.name: server for server in servers}
        self._shared = shared
        self._made: dict[tuple[str, str], RecordedSource] = {}

    def sources(self, had: Mapping[str, str] | None, beside: Mapping[str, bytes]) -> list[RecordedSource]:
        """The tools of one rollout's servers, in the order in which the recorded one had them.

        Args:
            had: `Recording.mcp` of it.
            beside: the lists that came with its job.

        Raises:
            UserError: the recorded rollout had ended before all servers had listed theirs.
        """
        had = had or {}
        for name in self._servers:
            if name not in had:
                raise UserError(
                    f"the recorded rollout ended before MCP server {name!r} had listed its tools, and so "
                    "does its replay"
                )
        return [self._source(name, digest, beside) for name, digest in had.items()]

    def _source(self, name: str, digest: str, beside: Mapping[str, bytes]) -> RecordedSource:
        if digest in beside:
            return recorded_source(self._servers[name], decode_tool_list(beside[digest]))
        source = self._made.get((name, digest))
        if source is None:
            source = recorded_source(self._servers[name], decode_tool_list(self._shared[digest]))
            self._made[name, digest] = source
        return source
