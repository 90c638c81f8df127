"""The tools of one worker's rollouts: the environment's own, what the run adds to them, and its rules.

What is the same for all rollouts (built-in tools, shared MCP servers, the approval function) is made once;
whatever is wrong with it is found before the first rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from rollway.environments.base import Environment, environment_name, named_rewards
from rollway.errors import UserError, nearest
from rollway.evaluation.config import EvalConfig, SandboxConfig
from rollway.evaluation.recorded_servers import RecordedServers
from rollway.evaluation.run_approval import approval_policy, approval_source
from rollway.evaluation.tapes import RecordingTape, ReplayTape, Tape, kept_lists
from rollway.scoring import needs_sandbox
from rollway.tools import Tool, ToolRegistry
from rollway.tools.approval import ApprovalPolicy
from rollway.tools.builtin import TOOLSETS, builtin_tools
from rollway.tools.builtin.session import seconds_below
from rollway.tools.mcp import McpSource, ToolSource, open_mcp_servers, with_mcp_tools
from rollway.tools.rules import check_arguments, check_names
from rollway.trajectory import Trajectory

HTTP = "http_get"

Together = Mapping[str, Sequence[Tool]]


def check_tools(
    config: EvalConfig,
    environment: Environment,
    *,
    sandbox: bool,
    listed: Sequence[ToolSource] | None = None,
) -> None:
    """Look, without starting anything, whether the run's tools can be had.

    Args:
        sandbox: have the rollouts one?
        listed: the tools of the MCP servers, in a replay; else they are not known yet.

    Raises:
        UserError: a toolset, a tool, a rule or the approval function is not what it should be, or something
            that is set needs a sandbox and there is none.
    """
    toolsets = _toolsets(config, environment)
    if config.tools.approval is not None:
        approval_policy(config.tools.approval, approval_source(config))
    if not sandbox:
        _refuse_without_sandbox(config, environment, toolsets)
    tools = RunTools(config, environment, toolsets, (), AsyncExitStack(), None)
    tools.try_together(listed or (), complete=listed is not None or not config.tools.mcp)


def _refuse_without_sandbox(config: EvalConfig, environment: Environment, toolsets: Together) -> None:
    """The rollouts have no sandbox: see that nothing is set that needs one."""
    added = [tool for tools in toolsets.values() for tool in tools]
    needs = ["tools.keep_results"] if config.tools.keep_results else []
    needs += [
        f"tool {tool.name!r}"
        for tool in (*environment.tools, *added)
        if any(parameter.needs_sandbox for parameter in getattr(tool, "context", ()))
    ]
    if config.tools.replay is not None:
        needs = []  # no tool runs
    needs += [f"reward {each.name!r}" for each in named_rewards(environment) if needs_sandbox(each.function)]
    settings = msgspec.structs.asdict(SandboxConfig())
    set_here = [
        f"sandbox.{name}" for name, default in settings.items() if default != getattr(config.sandbox, name)
    ]
    wants = [*(f"{what} needs" for what in needs), *(f"{what} is for" for what in set_here)]
    if wants:
        raise UserError(
            f"{wants[0]} a sandbox, and environment {environment_name(environment)!r} has none: add "
            "--sandbox, such as --sandbox bubblewrap"
        )


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
        recorded: RecordedServers | None = None,
    ) -> None:
        self.approval = approval
        self.keep_results = config.tools.keep_results
        self._config = config
        self._environment = environment
        self._toolsets = toolsets
        self._sources = sources
        self._held = held
        self._recorded = recorded
        self._lists = kept_lists(sources) if config.tools.record else []
        self._distribution = config.tools.sample
        self._apart = [server for server in config.tools.mcp if server.scope == "rollout"]

    @classmethod
    async def open(
        cls,
        config: EvalConfig,
        environment: Environment,
        approval_source: str | None = None,
        tool_lists: Mapping[str, bytes] | None = None,
    ) -> RunTools:
        """Make what the rollouts share.

        Args:
            approval_source: the text of the approval function's file, for a machine that lacks it.
            tool_lists: what the MCP servers listed, in a replay that starts none of them.

        Raises:
            UserError: a toolset, a tool, a rule, a server or the function is not what it should be.
        """
        toolsets = _toolsets(config, environment)
        approval = config.tools.approval
        policy = None if approval is None else approval_policy(approval, approval_source)
        if tool_lists is not None:
            recorded = RecordedServers(config.tools.mcp, tool_lists)
            return cls(config, environment, toolsets, (), AsyncExitStack(), policy, recorded)
        async with AsyncExitStack() as held:
            shared = [server for server in config.tools.mcp if server.scope == "worker"]
            sources = await held.enter_async_context(open_mcp_servers(shared)) if shared else []
            made = cls(config, environment, toolsets, sources, held, policy)
            await made._check()
            made._held = held.pop_all()
            return made

    def recording_tape(self) -> RecordingTape:
        """For one rollout."""
        return RecordingTape(self._lists)

    async def registry(
        self, held: AsyncExitStack, own: Sequence[Tool], record: Trajectory, tape: Tape | None = None
    ) -> ToolRegistry:
        """The tools of one rollout, of which ``own`` are the environment's. Servers of the rollout's own are
        started, and ended with ``held``; in a replay they are on record.

        Raises:
            UserError: such a server does not start, or two tools have one name.
            ValueError: as `ToolRegistry`.
        """
        names = list(self._config.tools.add)
        if self._distribution is not None:
            drawn = self._distribution.sample(record.task_id, self._config.seed or 0)
            record.metadata["toolsets"] = list(drawn)
            names += [name for name in drawn if name not in names]
        return self._registry(own, names, await self._servers(held, tape))

    async def _servers(self, held: AsyncExitStack, tape: Tape | None) -> Sequence[ToolSource]:
        if self._recorded is not None and isinstance(tape, ReplayTape):
            return self._recorded.sources(tape.servers, tape.tool_lists)
        if not self._apart:
            return self._sources
        apart = await held.enter_async_context(open_mcp_servers(self._apart))
        if isinstance(tape, RecordingTape):
            tape.add_lists(kept_lists(apart))
        return [*self._sources, *apart]

    async def close(self) -> None:
        """End the shared servers."""
        await self._held.aclose()

    async def _check(self) -> None:
        """Start each server of a rollout's own once, and see that all goes together."""
        async with open_mcp_servers(self._apart) as own_servers:
            self.try_together([*self._sources, *own_servers], complete=True)

    def try_together(self, sources: Sequence[ToolSource], *, complete: bool) -> None:
        """See that all tools go together, those that the environment has for every task and the run's.

        Args:
            complete: are these all the sources there will be?

        Raises:
            UserError: they do not, or a rule means none of them, or the rules leave none.
        """
        config = self._config.tools
        asked = config.approval.rules if config.approval is not None else []
        try:
            own = ToolRegistry(self._environment.tools)
            tools = self._together(list(own), _named(self._config), sources)
            registry = ToolRegistry(tools, rules=config.rules)
            check_arguments(asked, tools, "approval.rules")
            if complete and not _differ_by_task(self._environment):
                check_names(config.rules, tools, "rules")
                check_names(asked, tools, "approval.rules")
                if tools and not len(registry):
                    raise ValueError(
                        f"rules forbid all tools of {', '.join(tool.name for tool in tools)}; the first "
                        "matching rule decides; put one that allows a tool before it"
                    )
        except (ValueError, TypeError) as error:
            raise UserError(f"tools: {error}") from None

    def _registry(
        self, own: Sequence[Tool], names: Sequence[str], sources: Sequence[ToolSource]
    ) -> ToolRegistry:
        return ToolRegistry(self._together(own, names, sources), rules=self._config.tools.rules)

    def _together(
        self, own: Sequence[Tool], names: Sequence[str], sources: Sequence[ToolSource]
    ) -> Sequence[Tool]:
        owner = f"environment {environment_name(self._environment)!r}"
        if self._config.tools.http_hosts and HTTP not in _named(self._config):
            names = [*names, HTTP]
        added = {tool.name: tool for name in names for tool in self._toolsets[name]}
        for tool in own:
            if tool.name in added:
                raise UserError(
                    f"{owner} and the run's tools.add or tools.sample both have a tool named {tool.name!r}; "
                    "list the other tools of that set by name"
                )
        tools = [*own, *added.values()]
        return with_mcp_tools(tools, sources, owner) if sources else tools


def _differ_by_task(environment: Environment) -> bool:
    """May a task's rollouts have tools that are not known beforehand?"""
    return type(environment).tools_for is not Environment.tools_for


def _toolsets(config: EvalConfig, environment: Environment) -> dict[str, tuple[Tool, ...]]:
    """The tools of every set, or single tool, that the run names."""
    limit, hosts = config.limits.tool_timeout, config.tools.http_hosts
    options: dict[str, Any] = {} if limit is None else {"timeout": seconds_below(limit)}
    found: dict[str, tuple[Tool, ...]] = {}
    for name in _named(config):
        if name in environment.toolsets:
            found[name] = tuple(environment.toolsets[name])
        else:
            web = {"http_hosts": hosts} if name == HTTP else {}
            found[name] = _builtin(name, environment, options | web)
    if hosts:
        found.setdefault(HTTP, builtin_tools([], http_hosts=hosts))
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
            f"unknown toolset {name!r}{nearest(name, known)}; available: {', '.join(known)}"
        ) from error
