"""How one client finds its server, for progress lines and status files.

The invariant: it is a moment's view, made of plain values; nothing is decided by it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

ServerState = Literal["up", "away", "stalled", "overloaded"]


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """``away``: nobody answers at the address; ``stalled``: somebody accepts requests and stands still;
    ``overloaded``: it sends requests away."""

    address: str
    state: ServerState = "up"
    since: float | None = None  # Unix seconds; None: it is up
    reason: str = ""  # the server's or the system's words; "" when it is up
    waiting: int = 0  # calls that wait for it in the client
    in_flight: int = 0  # calls that it has
    limit: int | None = None  # calls that it is given at once; None: all

    def line(self, now: float) -> str:
        """One line for people, such as "server http://... away for 31 s, 128 calls wait"; "" when it is up.

        ``now`` in Unix seconds.
        """
        if self.state == "up":
            return ""
        lasting = "" if self.since is None else f" for {max(0.0, now - self.since):.0f} s"
        words = {"stalled": "stands still", "overloaded": f"takes {self.limit} calls at once"}
        calls = "1 call waits" if self.waiting == 1 else f"{self.waiting} calls wait"
        return f"server {self.address} {words.get(self.state, self.state)}{lasting}, {calls}"
