"""A run that has been found to be possible: its configuration, environment and tasks, checked.

Everything that can be wrong with the request itself is found here, before a server is asked or a file
written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rollway.agent_loop.prompts import readied_prompt
from rollway.environments.base import Environment, Task, environment_name
from rollway.environments.checks import check_environment
from rollway.environments.hooks import read_prompt
from rollway.environments.loading import load_environment
from rollway.errors import UserError
from rollway.evaluation.clients import read_api_key
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.data import refuse_lacking_columns, settle_data
from rollway.evaluation.formats import check_formats
from rollway.evaluation.recorded_servers import ReplayedLists, find_lists
from rollway.evaluation.rescoring import looks_into_sandbox
from rollway.evaluation.run_directory import (
    default_path,
    grown,
    holds_run,
    read_config,
    read_trajectories,
    refuse_other_run,
    stored_config,
)
from rollway.evaluation.run_sandboxes import wanted_sandbox
from rollway.evaluation.run_tools import check_tools
from rollway.evaluation.tapes import Recorded
from rollway.evaluation.tasks import TaskSet, load_tasks
from rollway.keys import Key
from rollway.tools.mcp import check_mcp_servers, refuse_same_names
from rollway.tools.replay import Recordings, read_recordings
from rollway.tools.sandboxes import SandboxSpec, check_backend


class Plan(msgspec.Struct, frozen=True):
    """What there is to do, and where it is to be kept."""

    config: EvalConfig
    environment: Environment
    tasks: TaskSet
    api_key: str | None
    path: Path  # where no folder was asked for: the name of a new one, which may have to get a number
    sandbox: SandboxSpec | None = None  # of the first task; None: the rollouts have none
    recordings: Recordings | None = None  # what tool calls are answered from, in a replay
    lists: ReplayedLists | None = None  # what MCP servers listed, in a replay that starts none
    kept: str | None = None  # a line about what a run that grows is asked for, and has more of

    @property
    def resumes(self) -> bool:
        """Is there a run to go on with?"""
        return self.config.out is not None and holds_run(self.path)

    @property
    def asked(self) -> int:
        """Rollouts in all."""
        return len(self.tasks) * self.config.samples

    @property
    def has_tools(self) -> bool:
        """Are there tools that the model is to know of?"""
        added = self.config.tools.add or self.config.tools.mcp or self.config.tools.sample
        own = type(self.environment).tools_for is not Environment.tools_for
        return bool(self.environment.tools) or bool(added) or own

    @property
    def told(self) -> str:
        """What there is to do, in words."""
        config = self.config
        name = environment_name(self.environment)
        data = config.dataset
        where = config.split if data is None else f"{data.split} of {data.source}"
        return f"{self.asked} rollouts of {name} ({where}): {len(self.tasks)} tasks x {config.samples}"

    @property
    def starts_servers_to_replay(self) -> bool:
        """Are MCP servers started although no call is made: for a record that lacks what they listed?"""
        return self.recordings is not None and self.lists is None and bool(self.config.tools.mcp)

    def recorded(self, key: Key) -> Recorded | None:
        """What a rollout's calls are answered from, in a replay.

        Raises:
            UserError: it cannot be read.
        """
        if self.recordings is None:
            return None
        beside = {} if self.lists is None else self.lists.beside(key)
        return Recorded(self.recordings.line(key), self.recordings.sandbox(key), beside)


def prepare(config: EvalConfig) -> Plan:
    """Resolve and check a request.

    Raises:
        UserError: what is wrong with it, and how to mend it.
    """
    config = config.resolved()
    check_formats(config)
    config = _found_policy(config)
    if config.workers and config.environment.startswith("__main__:"):
        raise UserError(
            f"environment {config.environment!r} is known to this process only: set workers to 0, or put it "
            "into a file"
        )
    environment = load_environment(config.environment, config.environment_args)
    check_environment(environment)
    config = settle_data(config, environment)
    kept = None
    if config.out and holds_run(Path(config.out)):
        config, kept = grown(stored_config(Path(config.out)), config)
    tasks = load_tasks(environment, config)
    first = tasks.first()
    refuse_lacking_columns(config, environment, first)
    _check_first_prompt(environment, first)
    spec = wanted_sandbox(environment, first, config.sandbox)
    recordings = _recordings(config, environment, tasks)
    lists = _lists(config, recordings, tasks)
    listed = None if lists is None else lists.sources(config.tools.mcp)
    check_tools(config, environment, sandbox=spec is not None, listed=listed)
    if config.ray.address is None:  # on a cluster it is the workers' machines that count
        if spec is not None and (config.tools.replay is None or looks_into_sandbox(environment)):
            check_backend(spec)
        if lists is None:
            check_mcp_servers(config.tools.mcp)
    now = time.strftime("%Y%m%d-%H%M%S")
    path = Path(config.out) if config.out else default_path(environment_name(environment), now)
    if config.out:
        refuse_other_run(path, config)
        if holds_run(path) and config.model.name is None:
            config = named_model(config, stored_config(path).model.name)
    return Plan(config, environment, tasks, read_api_key(config), path, spec, recordings, lists, kept)


def _check_first_prompt(environment: Environment, first: Task) -> None:
    """See that the first task's prompt is one that servers take. What the hook raises is left to the
    rollouts, where it is recorded.

    Raises:
        UserError: there is no hook, it returned something else than messages, or a tool call in them is not
            answered.
    """
    where = f"environment {environment_name(environment)!r}, task {first['task_id']!r}"
    try:
        returned = environment.prompt(first)
    except NotImplementedError:
        raise UserError(f"{where}: it has no prompt; define def prompt(self, task)") from None
    except Exception:
        return
    try:
        readied_prompt(read_prompt(returned))
    except (UserError, TypeError) as error:
        raise UserError(f"{where}: {error}") from None


def _recordings(config: EvalConfig, environment: Environment, tasks: TaskSet) -> Recordings | None:
    """The record that a replay answers from: one of every rollout that is asked for."""
    if config.tools.replay is None:
        return None
    path = Path(config.tools.replay)
    if not path.is_dir():
        raise UserError(f"tools.replay: no run directory {path}")
    recordings = read_recordings(path)
    _refuse_other_recording(path, config, environment)
    missing = [key for key in _keys(config, tasks) if key not in recordings]
    if missing:
        task_id, sample = missing[0]
        raise UserError(
            f"tools.replay: {path} has no recording of {len(missing)} of the requested rollouts, such as "
            f"task {task_id!r}, sample {sample}; select recorded ones with tasks, task_ids and samples"
        )
    return recordings


def _lists(config: EvalConfig, recordings: Recordings | None, tasks: TaskSet) -> ReplayedLists | None:
    """What the MCP servers listed, where that is on record."""
    if recordings is None:
        return None
    refuse_same_names(config.tools.mcp)
    return find_lists(config.tools.mcp, recordings, _keys(config, tasks))


def _keys(config: EvalConfig, tasks: TaskSet) -> Iterator[Key]:
    return ((task_id, sample) for task_id in tasks.ids() for sample in range(config.samples))


def _refuse_other_recording(path: Path, config: EvalConfig, environment: Environment) -> None:
    """Task ids such as ``"0"`` are the same in many environments, and mean something else in each."""
    first = next(read_trajectories(path), None)
    name = environment_name(environment)
    if first is not None and first.environment != name:
        raise UserError(
            f"tools.replay: {path} is a run of environment {first.environment!r}, not of {name!r}; use the "
            "environment of the recorded run"
        )
    split = read_config(path).get("split") if holds_run(path) else None
    if split is not None and split != config.split:
        raise UserError(
            f"tools.replay: {path} recorded split {split!r}, not {config.split!r}; set split to that"
        )


def _found_policy(config: EvalConfig) -> EvalConfig:
    """``config`` with a policy that is there; a folder is named so that it is found from anywhere."""
    policy = config.model.policy
    if policy is None:
        return config
    from rollway.embedded.policy import find_policy, list_policies  # brings numpy

    folder = find_policy(policy)
    if policy in list_policies():
        return config
    return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, policy=str(folder)))


def named_model(config: EvalConfig, name: str | None) -> EvalConfig:
    """``config`` with the model's name filled in."""
    return msgspec.structs.replace(config, model=msgspec.structs.replace(config.model, name=name))
