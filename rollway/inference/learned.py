"""What is found out about a server while a run goes on, told or acted on once for all of its rollouts."""

from __future__ import annotations

import msgspec


class Learned(msgspec.Struct):
    """One for each client: its rollouts share a server and a template."""

    refuses_user_after_tool: bool = False  # it refused a user message behind tool results, for that reason
    refuses_system: bool = False  # it refused a system message that was made for the tools
    demands_thoughts: bool = False  # it refused a reply in the history that had no field for its thought
    told_lost_call: bool = False  # the log has said that a reply held what looks like a call
