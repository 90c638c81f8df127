"""The tools of one worker's rollouts: the environment's own, what the run adds to them, and its rules.

What is the same for all rollouts (built-in tools, shared MCP servers, the approval function) is made once;
whatever is wrong with it is found before the first rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rollway.environments.base import Environment, environment_name
from rollway.environments.loading import import_file
from rollway.errors import UserError, nearest
from rollway.evaluation.config import ApprovalConfig, EvalConfig
from rollway.tools import Tool, ToolRegistry
from rollway.tools.approval import ApprovalPolicy
from rollway.tools.builtin import TOOLSETS, builtin_tools
from rollway.tools.mcp import McpSource, open_mcp_servers, with_mcp_tools
from rollway.trajectory import Trajectory

SPARE_SECONDS = 5.0
"""A built-in tool gives up so long before the engine would: then it can tell the model what came of it."""

HTTP = "http_get"

Together = Mapping[str, Sequence[Tool]]


def check_tools(config: EvalConfig, environment: Environment, *, sandbox: bool) -> None:
    """Look, without starting anything, whether the run's tools can be had. Servers' tools are not known yet.

    Args:
        sandbox: have the rollouts one?

    Raises:
        UserError: a toolset, a tool, a rule or the approval function is not what it should be, or a tool
            needs a sandbox and there is none.
    """
    toolsets = _toolsets(config, environment)
    if config.tools.approval is not None:
        _approval_policy(config.tools.approval, approval_source(config))
    added = [tool for tools in toolsets.values() for tool in tools]
    needy = [tool.name for tool in added if any(parameter.needs_sandbox for parameter in tool.context)]
    wants = (
        "tools.keep_results needs"
        if config.tools.keep_results
        else f"tool {needy[0]!r} needs"
        if needy
        else ""
    )
    if wants and not sandbox:
        name = environment_name(environment)
        raise UserError(
            f"{wants} a sandbox, and environment {name!r} asks for none: add --sandbox bubblewrap, say"
        )
    tools = RunTools(config, environment, toolsets, (), AsyncExitStack(), None)
    tools.try_together(())


class RunTools:
    """Made by `open`, for the event loop that it was opened on. Close it.

    ``approval`` is what every rollout's calls have to pass (``None``: nothing), and ``keep_results`` whether
    long results are kept whole.
    """

    def __init__(
        self,
        config: EvalConfig,
        environment: Environment,
        toolsets: Together,
        sources: Sequence[McpSource],
        held: AsyncExitStack,
        approval: ApprovalPolicy | None,
    ) -> None:
        self.approval = approval
        self.keep_results = config.tools.keep_results
        self._config = config
        self._environment = environment
        self._toolsets = toolsets
        self._sources = sources
        self._held = held
        self._distribution = config.tools.sample
        self._apart = [server for server in config.tools.mcp if server.scope == "rollout"]

    @classmethod
    async def open(
        cls, config: EvalConfig, environment: Environment, approval_source: str | None = None
    ) -> RunTools:
        """Make what the rollouts share.

        Args:
            approval_source: the text of the approval function's file, for a machine that lacks it.

        Raises:
            UserError: a toolset, a tool, a rule, a server or the function is not what it should be.
        """
        toolsets = _toolsets(config, environment)
        approval = config.tools.approval
        policy = None if approval is None else _approval_policy(approval, approval_source)
        async with AsyncExitStack() as held:
            shared = [server for server in config.tools.mcp if server.scope == "worker"]
            sources = await held.enter_async_context(open_mcp_servers(shared)) if shared else []
            made = cls(config, environment, toolsets, sources, held, policy)
            await made._check()
            made._held = held.pop_all()
            return made

    async def registry(self, held: AsyncExitStack, own: Sequence[Tool], record: Trajectory) -> ToolRegistry:
        """The tools of one rollout, of which ``own`` are the environment's. Servers of the rollout's own are
        started, and ended with ``held``.

        Raises:
            UserError: such a server does not start, or two tools have one name.
            ValueError: as `ToolRegistry`.
        """
        names = list(self._config.tools.add)
        if self._distribution is not None:
            drawn = self._distribution.sample(record.task_id, self._config.seed or 0)
            record.metadata["toolsets"] = list(drawn)
            names += [name for name in drawn if name not in names]
        sources = list(self._sources)
        if self._apart:
            sources += await held.enter_async_context(open_mcp_servers(self._apart))
        return self._registry(own, names, sources)

    async def close(self) -> None:
        """End the shared servers."""
        await self._held.aclose()

    async def _check(self) -> None:
        """Start each server of a rollout's own once, and see that all goes together."""
        async with open_mcp_servers(self._apart) as own_servers:
            self.try_together([*self._sources, *own_servers])

    def try_together(self, sources: Sequence[McpSource]) -> None:
        """See that all tools go together, those that the environment has for every task and the run's.

        Raises:
            UserError: they do not.
        """
        try:
            self._registry(self._environment.tools, _named(self._config), sources)
        except ValueError as error:
            raise UserError(f"tools: {error}") from None

    def _registry(
        self, own: Sequence[Tool], names: Sequence[str], sources: Sequence[McpSource]
    ) -> ToolRegistry:
        owner = f"environment {environment_name(self._environment)!r}"
        if self._config.tools.http_hosts:
            names = [*names, HTTP]
        added = {tool.name: tool for name in names for tool in self._toolsets[name]}
        for tool in own:
            if tool.name in added:
                raise UserError(
                    f"{owner} and the run's tools.add or tools.sample both have a tool named {tool.name!r}; "
                    f"name the other tools of that set one by one"
                )
        tools = [*own, *added.values()]
        if sources:
            tools = with_mcp_tools(tools, sources, owner)
        return ToolRegistry(tools, rules=self._config.tools.rules)


def _toolsets(config: EvalConfig, environment: Environment) -> dict[str, tuple[Tool, ...]]:
    """The tools of every set, or single tool, that the run names."""
    limit = config.limits.tool_timeout
    options: dict[str, Any] = {} if limit is None else {"timeout": max(limit / 2, limit - SPARE_SECONDS)}
    found: dict[str, tuple[Tool, ...]] = {}
    for name in _named(config):
        if name in environment.toolsets:
            found[name] = tuple(environment.toolsets[name])
        else:
            found[name] = _builtin(name, environment, options)
    if config.tools.http_hosts:
        found[HTTP] = builtin_tools([], http_hosts=config.tools.http_hosts)
    return found


def _named(config: EvalConfig) -> list[str]:
    """Every toolset, or single tool, that a rollout may get from the run."""
    drawn = config.tools.sample.names if config.tools.sample is not None else ()
    return list(dict.fromkeys([*config.tools.add, *drawn]))


def _builtin(name: str, environment: Environment, options: dict[str, Any]) -> tuple[Tool, ...]:
    try:
        return builtin_tools([name], **options)
    except UserError as error:
        if not environment.toolsets or name == HTTP:
            raise
        known = [*environment.toolsets, *TOOLSETS]
        raise UserError(
            f"there is no toolset {name!r}{nearest(name, known)}; there are: {', '.join(known)}"
        ) from error


def _approval_policy(config: ApprovalConfig, source: str | None) -> ApprovalPolicy:
    ask = None if config.ask is None else _function(config.ask, source)
    return ApprovalPolicy(rules=config.rules, default=config.default, ask=ask, timeout=config.timeout)


def _function(spec: str, source: str | None) -> Any:
    """What ``file.py:function`` names."""
    file, _, name = spec.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UserError(f"tools.approval.ask: give it as path/to/file.py:function, not {spec!r}")
    found = getattr(import_file(Path(file).expanduser(), source), name, None)
    if not callable(found):
        raise UserError(f"tools.approval.ask: {file} has no function {name!r}")
    return found


def approval_source(config: EvalConfig) -> str | None:
    """The text of the approval function's file, for workers on machines that lack it.

    Raises:
        UserError: the file cannot be read.
    """
    approval = config.tools.approval
    if approval is None or approval.ask is None:
        return None
    path = Path(approval.ask.rpartition(":")[0]).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"tools.approval.ask: cannot read {path}: {error}") from None
