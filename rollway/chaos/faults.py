"""Every fault that a chaos run knows: its name, whom it strikes, and what must come of it.

A fault is named ``group.kind``. Those of replies, tools, hooks and sandboxes strike by lot, so a seed and a
key say whether, and how often; they are transient, and never strike again. Those of servers, workers and the
driver are done to processes, at a share of the run's progress.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rollway.chaos.lots import chosen, lot

MODEL_FAULTS = frozenset(
    {"ServerOverloaded", "ServerUnreachable", "InvalidReply", "NoReplyInTime", "ServerStalled"}
)
HOOK_FAULTS = frozenset({"ConnectionError", "OSError", "TimeoutError", "HookTimeout", "HookTimedOut"})


HANGING = {"hanging_setup": "run again", "hanging_reward": "scored again"}
"""Kinds of hooks that never return, and what must come of them once their deadline is past."""


class Fault(NamedTuple):
    """One fault, and what is promised about it."""

    name: str
    effect: str  # what must come of it, in a few words
    failures: frozenset[str] = frozenset()  # kinds of failures that an attempt may end in because of it
    unasked: bool = True  # does it strike when its group is chosen, or only by its own name?


def _replies(kind: str) -> Fault:
    return Fault(f"replies.{kind}", "asked again", MODEL_FAULTS)


def _hooks(kind: str, effect: str) -> Fault:
    return Fault(f"hooks.{kind}", effect, HOOK_FAULTS)


REPLIES = tuple(
    map(
        _replies,
        (
            "429",
            "429_retry_after",
            "502",
            "503",
            "500_html",
            "cut_body",
            "hang_up",
            "hang_up_in_body",
            "garbage",
            "empty_body",
            "slow",
            "over_limit",
        ),
    )
)
SERVERS = (
    Fault("servers.away", "waited for", MODEL_FAULTS),
    Fault("servers.still", "waited for", MODEL_FAULTS),
)
TOOLS = (
    Fault("tools.machine", "run again", frozenset({"OSError", "MachineExhausted"})),
    Fault("tools.failing", "told"),
    # Whether a process that is killed ran out of memory by its own doing, nobody can tell.
    Fault("tools.killed", "run again", frozenset({"ProcessEnded"}), unasked=False),
)
HOOKS = (
    *(_hooks(kind, "run again") for kind in ("prompt", "setup", "tools_for", "done")),
    *(_hooks(kind, "scored again") for kind in ("reward", "async_reward")),
    _hooks("teardown", "noted"),
    *(_hooks(kind, "waited for") for kind in ("slow_prompt", "blocking_setup", "slow_reward")),
    *(_hooks(kind, effect) for kind, effect in HANGING.items()),
)
SANDBOXES = (
    Fault("sandboxes.start", "run again", frozenset({"OSError", "SandboxError"})),
    Fault("sandboxes.prepare", "run again", frozenset({"SandboxError"})),
    Fault("sandboxes.killed", "run again", frozenset({"SandboxError"})),
)
WORKERS = (
    Fault("workers.killed", "replaced", frozenset({"WorkerDied"})),
    Fault("workers.stopped", "replaced", frozenset({"WorkerDied", "WorkerHung"})),
)
DRIVER = (
    Fault("driver.killed", "resumed"),
    Fault("driver.interrupted", "resumed", frozenset({"cancelled"})),
    Fault("driver.terminated", "resumed", frozenset({"cancelled"})),
)
GROUPS = {
    "replies": REPLIES,
    "servers": SERVERS,
    "tools": TOOLS,
    "hooks": HOOKS,
    "sandboxes": SANDBOXES,
    "workers": WORKERS,
    "driver": DRIVER,
}
FAULTS = {fault.name: fault for group in GROUPS.values() for fault in group}

RATES: dict[str, float] = {
    "replies": 0.1,  # share of the requests
    "servers": 2,  # times in the run
    "tools": 0.02,  # share of the calls
    "hooks": 0.1,  # share of the tasks
    "sandboxes": 0.3,  # share of the tasks with a sandbox
    "workers": 2,  # times in the run
    "driver": 3,  # times in the run
}
"""How often each group strikes, unless it is said otherwise."""

TIMES = frozenset({"servers", "workers", "driver"})
"""Groups whose rate counts times in the run; that of the others is a share."""

OVER_LIMIT = "over_limit"
"""The kind of replies that no lot decides: the server has as many requests as it admits."""

MOST_TIMES = 3
"""A reply is struck so often at most, and then comes whole."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is to suffer. Travels to the server and the environment as plain values."""

    seed: int = 0
    rates: dict[str, float] = {}  # by group; a group that is absent never strikes
    kinds: dict[str, list[str]] = {}  # by group: only these kinds, if it is there
    every: dict[str, float] = {}  # kinds of replies that strike any try, however often; shares
    delay: float = 0.01  # seconds until a reply, on average
    admits: int | None = None  # requests that the server works on at a time; it refuses others
    tool_timeout: float = 5.0  # seconds
    hook_timeout: float = 10.0  # seconds, where hooks may hang
    backend: str = "local"  # of sandboxes
    block_seconds: float = 0.3  # that a slow hook takes
    broken_worker: bool = False  # the first worker breaks every rollout
    blocked_loop: float | None = None  # seconds for which one hook blocks the first worker's event loop

    @property
    def failing(self) -> float:
        """Share of calls to tools that fail whenever they are called."""
        return self.rates.get("tools", 0.0) if "failing" in self.kinds_of("tools") else 0.0

    @property
    def hangs(self) -> bool:
        """May a hook hang?"""
        return not HANGING.keys().isdisjoint(self.kinds_of("hooks"))

    @property
    def sandboxes(self) -> float:
        """Share of tasks with a sandbox."""
        return 0.1 if self.rates.get("sandboxes") else 0.0

    def kinds_of(self, group: str) -> list[str]:
        """The kinds of a group that may strike."""
        known = [fault.name.partition(".")[2] for fault in GROUPS[group] if fault.unasked]
        return self.kinds.get(group, known) if self.rates.get(group) else []

    def kind_for(self, group: str, *key: object) -> str | None:
        """Which kind of a group strikes a key; None: none does."""
        kinds = [kind for kind in self.kinds_of(group) if kind != OVER_LIMIT]
        if not kinds or lot(self.seed, group, *key) >= self.rates[group]:
            return None
        return chosen(kinds, self.seed, group, "kind", *key)

    def reply_fault(self, arrival: int, *key: object) -> str | None:
        """What happens to a request when it arrives for the time ``arrival``, counted from 0."""
        for kind, share in self.every.items():
            if lot(self.seed, "every", kind, arrival, *key) < share:
                return kind
        times = 1 + int(lot(self.seed, "times", *key) * MOST_TIMES)
        return self.kind_for("replies", *key) if arrival < times else None


def plain(plan: Plan) -> dict[str, Any]:
    """The plan as values that JSON and YAML can say."""
    values: dict[str, Any] = msgspec.to_builtins(plan)
    return values
