"""What a user writes: tasks, a prompt, tools and rewards. The engine does everything else.

An environment holds no state of a rollout. ``setup`` creates what one rollout needs, and the engine opens
its sandbox; hooks and tools receive both, and both are gone after the rollout. So one Environment object
serves thousands of rollouts at a time: its sync hooks and rewards run in threads, like tools, those of one
rollout one after the other and those of several side by side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from rollway.data import DatasetSource
from rollway.limits import Limits
from rollway.tools import Tool
from rollway.tools.sandboxes import Sandbox, SandboxSpec
from rollway.trajectory import Message, Trajectory

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

Task = Mapping[str, Any]
"""One task: a mapping (a row of a ``datasets.Dataset`` is one) with a ``task_id`` that never changes."""

RewardFunction = Callable[..., float | bool | Awaitable[float | bool]]
"""``(trajectory, task) -> value``, or ``(trajectory, task, sandbox) -> value`` with a parameter of just this
name, which is the sandbox as the rollout left it. If it raises, the rollout is not scored; it is never 0."""


RewardPlace = Literal["thread", "process"]


class Reward(msgspec.Struct, frozen=True):
    """A reward function with its weight and name, and where it runs if it is not async."""

    function: RewardFunction
    weight: float = 1.0
    name: str = ""  # the function's name when empty
    where: RewardPlace = "thread"  # a process can be killed, and its function is on the main
    # thread there: for code that may never return, that holds Python's lock (a regular expression that
    # backtracks without end), or that sets a timer with SIGALRM


class Environment:
    """Subclass this, set the class attributes, and pass it to ``rollway eval``."""

    name: str = ""  # the class's name when empty
    tools: Sequence[Tool] = ()
    rewards: Sequence[Reward | RewardFunction] = ()
    toolsets: Mapping[str, Sequence[Tool]] = {}  # named sets that a run may choose from, besides the built-in
    sandbox: SandboxSpec | None = None  # opened for each rollout; None: no sandbox
    pass_threshold: float = 1.0  # a sample with at least this reward counts as passed in pass@k

    @classmethod
    def from_dataset(
        cls,
        source: str | PathLike[str] | Dataset | DatasetDict,
        *,
        name: str | None = None,
        split: str | None = None,
        revision: str | None = None,
        environment_args: Mapping[str, Any] | None = None,
    ) -> Self:
        """This environment with the rows of a dataset for tasks. Nothing is read before `tasks` is called.

        Args:
            source: a file (Parquet, JSON Lines, CSV), a folder of such files or one that ``save_to_disk``
                wrote, a dataset's name on the Hub, or a ``datasets`` object.
            name: of the Hub dataset's configuration.
            split: of the dataset; None: the one that the run asks for. A file has none, and is every split.
            revision: of the Hub dataset: a branch, a tag or a commit.
            environment_args: keyword arguments of the class.
        """
        environment = cls(**(environment_args or {}))
        environment.tasks = DatasetSource(source, name, split, revision).rows  # type: ignore[method-assign]
        return environment

    def tasks(self, split: str) -> Iterable[Task]:
        """The tasks of a split, in a stable order: an iterable of mappings or a ``datasets.Dataset``.

        Raises:
            ValueError: there is no such split.
        """
        raise NotImplementedError("define tasks(split), or give data, as in --data tasks.jsonl")

    def prompt(self, task: Task) -> list[Message]:
        """The opening messages, in the OpenAI chat format."""
        raise NotImplementedError

    def sandbox_for(self, task: Task) -> SandboxSpec | None:
        """The sandbox of a task's rollouts. Override this if tasks need different ones."""
        return self.sandbox

    async def prepare_sandbox(self, task: Task, sandbox: Sandbox) -> None:
        """Write the task's files into a fresh sandbox. Called before `setup`."""

    def limits_for(self, task: Task, limits: Limits) -> Limits:
        """The limits of a task's rollouts. ``limits`` are the run's own."""
        return limits

    async def setup(self, task: Task) -> Any:
        """Create the state of one rollout (a workspace, a game). The hooks below receive it. A sync one runs
        in a thread."""
        return None

    def tools_for(self, task: Task, workspace: Any) -> Sequence[Tool]:
        """The tools of one rollout. ``workspace`` is what `setup` returned."""
        return self.tools

    def done(self, task: Task, workspace: Any, trajectory: Trajectory) -> bool:
        """Whether the rollout has ended in the environment. Called after each turn's tool results, also after
        those of a tool that stopped the rollout. It may write to the trajectory's metadata, nothing else."""
        return False

    async def teardown(self, task: Task, workspace: Any, trajectory: Trajectory | None) -> None:
        """Always called after a successful `setup`, after the rewards, however the rollout ended."""


def environment_name(environment: Environment) -> str:
    """The name in trajectories and run directories."""
    return environment.name or type(environment).__name__


def named_rewards(environment: Environment) -> list[Reward]:
    """The environment's reward functions with their names and weights filled in.

    Raises:
        ValueError: two of them have the same name.
    """
    rewards = []
    seen: set[str] = set()
    for entry in environment.rewards:
        reward = entry if isinstance(entry, Reward) else Reward(entry)
        name = reward.name or getattr(reward.function, "__name__", "reward")
        if name in seen:
            raise ValueError(
                f"environment {environment_name(environment)!r} has two rewards named {name!r}; rename one "
                "with Reward(function, name=...)"
            )
        seen.add(name)
        rewards.append(msgspec.structs.replace(reward, name=name))
    return rewards
