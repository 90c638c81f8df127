"""A whole config: what is asked, how it is done, and the checks between its sections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rollway.evaluation.config.model import ModelConfig
from rollway.evaluation.config.section import Natural, Positive, Section, section_of
from rollway.evaluation.config.tools import SandboxConfig, ToolsConfig
from rollway.inference.protocol import Sampling
from rollway.inference.sampling_fields import with_defaults
from rollway.inference.token_client import CHAT_ONLY
from rollway.limits import Limits


class RayConfig(Section):
    """Where the workers run when ``workers`` is above 0."""

    address: str | None = None  # null: a Ray of our own on this machine; "auto" or an address: a cluster
    runtime_env: dict[str, Any] = {}  # handed to Ray as it is
    cpus_per_worker: Annotated[float, Field(ge=0)] = 1.0


class WandbConfig(Section):
    """Run tracking. Off unless ``enabled``."""

    enabled: bool = False
    project: str = "rollway"
    entity: str | None = None
    name: str | None = None  # null: the run directory's name
    mode: Literal["online", "offline"] | None = None  # null: what wandb is set to


class EvalConfig(Section):
    """One run: what is asked (it must stay the same for a run to be gone on with), and how it is done.

    Which field is which, `rollway.evaluation.run_directory.same_run` says.
    """

    environment: str  # a shipped one's name, path/to/file.py[:Class], or module:Class
    environment_args: dict[str, Any] = {}  # keyword arguments of the environment's class
    split: str | None = None  # null: "train" with groups, else "test"
    tasks: Positive | None = None  # the first so many of the split; null: all
    task_ids: list[str] | None = None  # these only, in this order; not together with `tasks`
    samples: Positive = 1  # rollouts of each task
    groups: bool = False  # a task's samples are a group: group_id is set, advantages are filled in
    seed: int | None = 0  # null: no seed is sent to the server
    model: ModelConfig = ModelConfig()
    tool_parser: str | None = "hermes"  # calls that the server left in the text; auto, a format, or null
    reasoning_parser: str | None = None  # thoughts that it left in the text; auto, a format, or null
    sampling: Annotated[Sampling, *section_of(Sampling)] = Sampling()
    limits: Annotated[Limits, *section_of(Limits)] = Limits()
    tools: ToolsConfig = ToolsConfig()
    sandbox: SandboxConfig = SandboxConfig()

    workers: Natural = 1  # processes under Ray; 0: in this process, without Ray
    concurrency: Positive = 32  # rollouts in flight per worker
    pool_size: Positive = 32  # threads for sync tools per worker
    stop_after_failures: Positive | None = 32  # failed in a row: stop handing out; null: never
    ray: RayConfig = RayConfig()
    wandb: WandbConfig = WandbConfig()
    out: str | None = None  # the run directory; null: runs/<name>-<time>

    @field_validator("task_ids", mode="before")
    @classmethod
    def _ids_are_text(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [str(item) if type(item) is int else item for item in value]

    @field_validator("sampling")
    @classmethod
    def _no_second_seed(cls, value: Sampling) -> Sampling:
        if value.seed is not None:
            raise PydanticCustomError(
                "in_section",
                "each rollout gets a seed of its own, made from the run's: set seed at the top",
                {"field": "seed"},
            )
        return value

    @model_validator(mode="after")
    def _one_choice_of_tasks(self) -> EvalConfig:
        if self.tasks is not None and self.task_ids is not None:
            raise ValueError("give tasks (how many) or task_ids (which), not both")
        return self

    @model_validator(mode="after")
    def _groups_know_how_they_are_sampled(self) -> EvalConfig:
        if self.groups and self.sampling.defaults == "server":
            raise ValueError(
                "sampling.defaults: server leaves to the server how tokens are drawn, and training needs the "
                "policy's own distribution: leave it out, and say under sampling what is to be otherwise"
            )
        return self

    @model_validator(mode="after")
    def _no_chat_fields_with_ids(self) -> EvalConfig:
        lost = next((name for name in CHAT_ONLY if name in self.sampling.extra), None)
        if self.model.backend == "token" and lost is not None:
            raise ValueError(
                f"sampling.extra has {lost!r}, which only chat endpoints know: leave it out, or set "
                f"model.backend to chat"
            )
        return self

    def resolved(self, **changes: Any) -> EvalConfig:
        """This config with its open choices made, and ``changes`` over it."""
        from rollway.environments.loading import absolute_spec

        settled: dict[str, Any] = {
            "environment": absolute_spec(self.environment),
            "split": self.split or ("train" if self.groups else "test"),
        }
        tools: dict[str, Any] = {}
        if self.tools.replay is not None:
            tools["replay"] = str(Path(self.tools.replay).expanduser().resolve())
        if self.tools.approval is not None and self.tools.approval.ask is not None:
            ask = absolute_spec(self.tools.approval.ask)
            tools["approval"] = self.tools.approval.model_copy(update={"ask": ask})
        settled["tools"] = self.tools.model_copy(update=tools)
        settled["sampling"] = with_defaults(self.sampling)
        if self.out is not None:
            settled["out"] = str(Path(self.out).expanduser().resolve())
        return self.model_copy(update=settled | changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as ``config.yaml`` holds them."""
        return self.model_dump(mode="json")
