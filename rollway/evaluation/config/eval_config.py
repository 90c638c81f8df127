"""A whole config: what is asked, how it is done, and the checks between its sections."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rollway.agent_loop.shown import InsertAs
from rollway.errors import UserError
from rollway.evaluation.config.data import DataConfig, absolute_source
from rollway.evaluation.config.model import ModelConfig
from rollway.evaluation.config.most_failed import MostFailed, most_failed
from rollway.evaluation.config.section import Natural, Positive, Section
from rollway.evaluation.config.tools import SandboxConfig, ToolsConfig
from rollway.inference.protocol import Sampling
from rollway.inference.sampling_fields import with_defaults
from rollway.inference.token_client import CHAT_ONLY
from rollway.limits import Limits


class RayConfig(Section, frozen=True, kw_only=True):
    """Where the workers run when ``workers`` is above 0."""

    address: str | None = None  # null: a Ray of our own on this machine; "auto" or an address: a cluster
    runtime_env: dict[str, Any] = {}  # handed to Ray as it is
    cpus_per_worker: Annotated[float, msgspec.Meta(ge=0)] = 1.0


class WandbConfig(Section, frozen=True, kw_only=True):
    """Run tracking. Off unless ``enabled``."""

    enabled: bool = False
    project: str = "rollway"
    entity: str | None = None
    name: str | None = None  # null: the run directory's name
    mode: Literal["online", "offline"] | None = None  # null: what wandb is set to


class EvalConfig(Section, frozen=True, kw_only=True):
    """One run: what is asked (it must not change when the run is resumed), and how it is done.

    Which field is which, `rollway.evaluation.run_directory.same_run` says.
    """

    environment: str  # a shipped one's name, path/to/file.py[:Class], or module:Class
    environment_args: dict[str, Any] = {}  # keyword arguments of the environment's class
    data: DataConfig | str | None = (
        None  # tasks from data in place of the environment's; a text is its source
    )
    split: str | None = None  # null: "train" with groups, else "test"
    tasks: Positive | None = None  # only the first N of the split; null: all
    task_ids: list[str | int] | None = None  # these only, in this order; not together with `tasks`
    samples: Positive = 1  # rollouts of each task
    groups: bool = False  # a task's samples are a group: group_id is set, advantages are filled in
    seed: int | None = 0  # null: no seed is sent to the server
    model: ModelConfig = ModelConfig()
    tool_parser: str | None = "hermes"  # calls that the server left in the text; auto, a format, or null
    tools_in_prompt: str | None = (
        None  # a format in whose words the prompt tells the tools; null: its template
    )
    reasoning_parser: str | None = None  # thoughts that it left in the text; auto, a format, or null
    insert_as: InsertAs = "auto"  # the engine's words behind tool results: user, tool_suffix, or auto
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    tools: ToolsConfig = ToolsConfig()
    sandbox: SandboxConfig = SandboxConfig()

    workers: Natural = 0  # processes under Ray; 0: in this process, without Ray
    concurrency: Positive = 32  # rollouts in flight per worker
    pool_size: Positive = 32  # threads for sync tools per worker
    attempts: Positive = 3  # tries of a rollout that a server, a sandbox or a machine failed
    max_failed: MostFailed = 0  # rollouts that may be without a score: a number, or a share (0.05, "5%")
    stop_after_failures: Positive | None = 32  # failed in a row: stop handing out; null: never
    record_calls: bool = False  # keep every request to the model and every reply as it is, beside the run
    ray: RayConfig = RayConfig()
    wandb: WandbConfig = WandbConfig()
    out: str | None = None  # the run directory; null: runs/<name>-<time>

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task_ids is not None:  # YAML reads an id of digits as a number
            msgspec.structs.force_setattr(self, "task_ids", [str(task_id) for task_id in self.task_ids])
        if isinstance(self.data, str):
            msgspec.structs.force_setattr(self, "data", DataConfig(source=self.data))
        most_failed(self.max_failed, 1)
        if self.tasks is not None and self.task_ids is not None:
            raise ValueError("task_ids: give tasks (how many) or task_ids (which), not both")
        if self.sampling.seed is not None:
            raise ValueError(
                "sampling.seed: each rollout gets a seed of its own, made from the run's: set seed at the top"
            )
        if self.groups and self.sampling.defaults == "server":
            raise ValueError(
                "sampling.defaults: server leaves to the server how tokens are drawn, but training needs the "
                "policy's own distribution: remove it, and set the fields of sampling that should differ"
            )
        if self.ray.address is not None and not self.workers:
            raise ValueError(
                "ray.address: with workers 0 nothing runs on the cluster: set workers to 1 or more, or "
                "remove ray.address"
            )
        lost = next((name for name in CHAT_ONLY if name in self.sampling.extra), None)
        if self.model.backend == "token" and lost is not None:
            raise ValueError(
                f"sampling.extra: {lost!r} is known to chat endpoints only: leave it out, or set "
                f"model.backend to chat"
            )

    @property
    def dataset(self) -> DataConfig | None:
        """`data`, which is a section once the config exists."""
        return self.data if isinstance(self.data, DataConfig) else None

    def resolved(self, **changes: Any) -> EvalConfig:
        """This config with its open choices made, and ``changes`` over it."""
        from rollway.environments.loading import absolute_spec

        settled: dict[str, Any] = {
            "environment": absolute_spec(self.environment),
            "split": self.split or ("train" if self.groups else "test"),
        }
        if self.dataset is not None:
            settled["data"] = msgspec.structs.replace(
                self.dataset, source=absolute_source(self.dataset.source)
            )
        tools: dict[str, Any] = {}
        if self.tools.replay is not None:
            tools["replay"] = str(Path(self.tools.replay).expanduser().resolve())
        if self.tools.approval is not None and self.tools.approval.ask is not None:
            ask = absolute_spec(self.tools.approval.ask)
            tools["approval"] = msgspec.structs.replace(self.tools.approval, ask=ask)
        settled["tools"] = msgspec.structs.replace(self.tools, **tools)
        settled["sampling"] = with_defaults(self.sampling)
        if self.out is not None:
            settled["out"] = str(Path(self.out).expanduser().resolve())
        return msgspec.structs.replace(self, **(settled | changes))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as ``config.yaml`` holds them.

        Raises:
            UserError: ``environment_args`` or ``ray.runtime_env`` holds what cannot be written there.
        """
        try:
            plain: dict[str, Any] = _as_read(msgspec.to_builtins(self, enc_hook=_written))
        except TypeError as error:
            raise UserError(f"environment_args and ray.runtime_env must hold plain values: {error}") from None
        return plain


def _written(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise TypeError(f"a {type(value).__name__} cannot be written to config.yaml")


def _as_read(value: Any) -> Any:
    """Lists for tuples: what is read back from YAML has no others, and must compare equal."""
    if isinstance(value, dict):
        return {name: _as_read(inner) for name, inner in value.items()}
    return [_as_read(inner) for inner in value] if isinstance(value, list | tuple) else value
