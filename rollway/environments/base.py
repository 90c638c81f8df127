"""What a user writes: tasks, a prompt, tools and rewards. Everything else is the engine's.

An environment holds no state of a rollout. Whatever one rollout needs for itself is made by ``setup``, or
is the sandbox that the engine opens for it, handed to the hooks and the tools, and gone afterwards; so one
Environment object serves thousands of rollouts at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

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
name, which is the sandbox as the rollout left it. Raising means "not scored", never 0."""


class Reward(msgspec.Struct, frozen=True):
    """A reward function with a weight and a name of its own."""

    function: RewardFunction
    weight: float = 1.0
    name: str = ""  # the function's name when empty


class Environment:
    """Subclass this, or fill in the class attributes, and hand it to ``rollway eval``."""

    name: str = ""  # the class's name when empty
    tools: Sequence[Tool] = ()
    rewards: Sequence[Reward | RewardFunction] = ()
    toolsets: Mapping[str, Sequence[Tool]] = {}  # named sets that a run may choose from, besides the built-in
    sandbox: SandboxSpec | None = None  # one is opened for each rollout; None: the rollouts need none
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
        """The sandbox of one task's rollouts, where tasks differ in it."""
        return self.sandbox

    async def prepare_sandbox(self, task: Task, sandbox: Sandbox) -> None:
        """Put into a fresh sandbox what the task needs there. Called before `setup`."""

    def limits_for(self, task: Task, limits: Limits) -> Limits:
        """The limits of one task's rollouts, of which ``limits`` are the run's own."""
        return limits

    async def setup(self, task: Task) -> Any:
        """Make what one rollout needs for itself (a workspace, a game). Returned to the hooks below."""
        return None

    def tools_for(self, task: Task, workspace: Any) -> Sequence[Tool]:
        """The tools of one rollout. ``workspace`` is what `setup` returned."""
        return self.tools

    def done(self, task: Task, workspace: Any, trajectory: Trajectory) -> bool:
        """Asked after each turn's tool results: has the rollout reached its end in the environment?"""
        return False

    async def teardown(self, task: Task, workspace: Any, trajectory: Trajectory | None) -> None:
        """Always called after a successful `setup`, after the rewards, however the rollout ended."""


def environment_name(environment: Environment) -> str:
    """The name that stands in trajectories and run directories."""
    return environment.name or type(environment).__name__


def named_rewards(environment: Environment) -> list[Reward]:
    """The environment's reward functions with their names and weights filled in.

    Raises:
        ValueError: two of them have one name.
    """
    rewards = []
    seen: set[str] = set()
    for entry in environment.rewards:
        reward = entry if isinstance(entry, Reward) else Reward(entry)
        name = reward.name or getattr(reward.function, "__name__", "reward")
        if name in seen:
            raise ValueError(
                f"environment {environment_name(environment)!r} has two rewards named {name!r}; "
                f"give one a name of its own: Reward(function, name=...)"
            )
        seen.add(name)
        rewards.append(Reward(reward.function, reward.weight, name))
    return rewards
