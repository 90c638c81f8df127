"""Tools: functions that a model may call, and everything that happens between its call and its answer."""

from rollway.tools.approval import ApprovalPolicy, ApprovalRequest, ApprovalRule, Approved, Denied
from rollway.tools.arguments import InvalidArguments
from rollway.tools.context import Notes, RolloutContext, Workspace
from rollway.tools.definition import Tool, ToolFailed, ToolOutput, tool
from rollway.tools.execution import (
    CallExecutor,
    ExecutedCall,
    answer_without_running,
    execute_call,
    execute_calls,
)
from rollway.tools.pool import ToolPool
from rollway.tools.pool_records import CallResult, PoolClosed, PoolStats
from rollway.tools.registry import ToolRegistry
from rollway.tools.rules import Rule
from rollway.tools.sandboxes.protocol import Sandbox, SandboxError, SandboxFileError
from rollway.tools.sandboxes.spec import SandboxSpec
from rollway.tools.toolsets import Combination, ToolsetDistribution

__all__ = [
    "ApprovalPolicy",
    "ApprovalRequest",
    "ApprovalRule",
    "Approved",
    "CallExecutor",
    "CallResult",
    "Combination",
    "Denied",
    "ExecutedCall",
    "InvalidArguments",
    "Notes",
    "PoolClosed",
    "PoolStats",
    "RolloutContext",
    "Rule",
    "Sandbox",
    "SandboxError",
    "SandboxFileError",
    "SandboxSpec",
    "Tool",
    "ToolFailed",
    "ToolOutput",
    "ToolPool",
    "ToolRegistry",
    "ToolsetDistribution",
    "Workspace",
    "answer_without_running",
    "execute_call",
    "execute_calls",
    "tool",
]
