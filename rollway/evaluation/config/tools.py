"""The tools and sandbox sections of a config: what a run adds to its environment's own, and forbids.

The invariant: what is not set is as the environment has it.
"""

from __future__ import annotations

from rollway.errors import nearest
from rollway.evaluation.config.section import Natural, Positive, Seconds, Section
from rollway.tools.approval import ApprovalRule, Decision
from rollway.tools.mcp.server import McpServer
from rollway.tools.rules import Rule
from rollway.tools.sandboxes import Backend, Mount, SandboxChanges, SandboxLimits
from rollway.tools.toolsets import ToolsetDistribution


class SandboxConfig(Section, frozen=True, kw_only=True):
    """What the run wants otherwise than the environment; null leaves a field as it is there."""

    backend: Backend | None = (
        None  # set: every rollout has a sandbox, also where the environment asks for none
    )
    limits: dict[str, Positive] = {}  # fields of SandboxLimits
    network: bool | None = None
    image: str | None = None  # docker and podman
    mounts: list[Mount] | None = None
    environment: dict[str, str] | None = None  # variables of every command
    warm: Natural = 0  # sandboxes that each worker keeps ready ahead of its rollouts
    most: Positive | None = None  # sandboxes of one worker at a time; null: no bound but concurrency

    def __post_init__(self) -> None:
        super().__post_init__()
        known = SandboxLimits.__struct_fields__
        for name in self.limits:
            if name not in known:
                raise ValueError(f"limits.{name}: unknown field{nearest(name, known)}")

    @property
    def changes(self) -> SandboxChanges:
        """To be applied to the environment's own specs."""
        fields = SandboxChanges.__struct_fields__
        return SandboxChanges(**{name: getattr(self, name) for name in fields})


class ApprovalConfig(Section, frozen=True, kw_only=True):
    """Which calls may run, decided before each of them."""

    rules: list[ApprovalRule] = []  # the first that fits decides
    default: Decision | None = (
        None  # where none fits; null: "ask" where there is somebody to ask, else "deny"
    )
    ask: str | None = None  # path/to/file.py:function, called with an ApprovalRequest
    timeout: Seconds | None = 300.0  # seconds that `ask` has; then the call is denied

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ask is None and "ask" in (self.default, *(rule.decide for rule in self.rules)):
            raise ValueError(
                "a call is to be asked about, and there is nobody to ask: set ask to file.py:function"
            )


class ToolsConfig(Section, frozen=True, kw_only=True):
    """What the run adds to the environment's tools, what it forbids, and what it keeps."""

    add: list[str] = []  # toolsets, or single built-in tools, that every rollout has besides its own
    sample: ToolsetDistribution | None = None
    """Toolsets that are drawn by chance, the same for all samples of a task."""
    http_hosts: list[str] = []  # hosts that http_get may fetch; none: there is no http_get
    rules: list[Rule] = []  # the first that fits a call decides
    approval: ApprovalConfig | None = None  # null: what the rules allow may run
    mcp: list[McpServer] = []
    keep_results: bool = False  # write results that are too long to show whole into the sandbox
    record: bool = False  # keep every call's answer, and each sandbox as its rollout left it
    replay: str | None = None  # a run directory with recordings: calls are answered from it, no tool runs

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.record and self.replay is not None:
            raise ValueError("replay: record and replay exclude each other: a replay runs no tool")
