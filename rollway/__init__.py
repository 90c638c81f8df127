"""Rollway: multi-turn rollouts for reinforcement learning and evaluation of tool-using language models.

The names below are imported on first use, so that ``import rollway`` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollway.agent_loop import AgentLoop
    from rollway.environments import Environment, Reward
    from rollway.inference import Sampling
    from rollway.limits import Limits
    from rollway.tools import (
        ApprovalPolicy,
        Notes,
        RolloutContext,
        Rule,
        Sandbox,
        SandboxSpec,
        ToolFailed,
        ToolOutput,
        ToolPool,
        ToolRegistry,
        Workspace,
        tool,
    )
    from rollway.trajectory import Trajectory

__all__ = [
    "AgentLoop",
    "ApprovalPolicy",
    "Environment",
    "Limits",
    "Notes",
    "Reward",
    "RolloutContext",
    "Rule",
    "Sampling",
    "Sandbox",
    "SandboxSpec",
    "ToolFailed",
    "ToolOutput",
    "ToolPool",
    "ToolRegistry",
    "Trajectory",
    "Workspace",
    "tool",
]

_HOMES = {
    "AgentLoop": "rollway.agent_loop",
    "ApprovalPolicy": "rollway.tools",
    "Environment": "rollway.environments",
    "Limits": "rollway.limits",
    "Notes": "rollway.tools",
    "Reward": "rollway.environments",
    "RolloutContext": "rollway.tools",
    "Rule": "rollway.tools",
    "Sampling": "rollway.inference",
    "Sandbox": "rollway.tools",
    "SandboxSpec": "rollway.tools",
    "ToolFailed": "rollway.tools",
    "ToolOutput": "rollway.tools",
    "ToolPool": "rollway.tools",
    "ToolRegistry": "rollway.tools",
    "Trajectory": "rollway.trajectory",
    "Workspace": "rollway.tools",
    "tool": "rollway.tools",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rollway' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
