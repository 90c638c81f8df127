"""What a run is: every setting of ``rollway eval`` and ``rollway rollout``, checked before anything starts.

A config is complete and holds no secret: written to ``config.yaml`` and read back it is equal, and API keys
are named by the environment variable that holds them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rollway.errors import nearest
from rollway.inference.chat_request import ReasoningField
from rollway.inference.prompt_writer import OnMismatch
from rollway.inference.protocol import Sampling
from rollway.inference.retry import RetryPolicy
from rollway.inference.token_client import CHAT_ONLY, Endpoint
from rollway.inference.transport import Timeouts, split_base_url
from rollway.limits import Limits
from rollway.tools.approval import ApprovalRule, Decision
from rollway.tools.mcp.server import McpServer
from rollway.tools.rules import Rule
from rollway.tools.sandboxes import Backend, Mount, SandboxChanges, SandboxLimits
from rollway.tools.toolsets import ToolsetDistribution

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_Positive = Annotated[int, Field(ge=1)]
_Natural = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


def _read_struct(struct: type[_Struct], value: Any) -> _Struct:
    """A record of the engine as a section of the configuration: same fields, same checks."""
    if isinstance(value, struct):
        return value
    if isinstance(value, dict):
        for name in value:
            if name not in struct.__struct_fields__:
                near = nearest(str(name), struct.__struct_fields__)
                raise PydanticCustomError(
                    "in_section", "unknown field{near}", {"near": near, "field": str(name)}
                )
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        field, message = place.rstrip("`").lstrip("."), message.replace("`", "")
        raise PydanticCustomError("in_section", "{message}", {"message": message, "field": field}) from None


def _section_of(struct: type[_Struct]) -> tuple[BeforeValidator, PlainSerializer]:
    return (
        BeforeValidator(lambda value: _read_struct(struct, value)),
        PlainSerializer(msgspec.to_builtins),
    )


class ModelConfig(_Section):
    """The policy: a server at ``base_url``, or the embedded policy on a server of our own."""

    base_url: str | None = None  # with or without /v1; null: serve `policy` for the time of the run
    name: str | None = None  # null: the only model that the server has
    backend: Literal["chat", "token", "openai"] = "chat"  # "token": ids; "openai": hosted providers
    folder: str | None = None  # the model's own, with its tokenizer; null: the one that the server names
    endpoint: Endpoint = "auto"  # with "token": where ids are sent
    on_mismatch: OnMismatch = "keep"  # with "token": what to do where the chat template rewrites
    renderer: str = "template"  # with "token": what renders; else a name that the renderers package knows
    api_key_env: str | None = None  # the environment variable that holds the key
    policy: str | None = "calculator"  # the embedded policy; of no account with a server of yours
    server_tool_parser: bool = True  # does the embedded server read the tool calls itself?
    token_ids: bool | None = None  # ask for token ids; null: with backend "chat"
    logprobs: bool | None = None  # ask for logprobs; null: with backend "chat"
    require_token_data: bool = False  # a reply without them is a fault
    history_reasoning: ReasoningField | None = None  # carries earlier thoughts; null: the backend's own way
    max_tokens_field: str | None = None  # carries sampling.max_tokens; null: the backend's own way
    retry: Annotated[RetryPolicy, *_section_of(RetryPolicy)] = RetryPolicy()
    timeouts: Annotated[Timeouts, *_section_of(Timeouts)] = Timeouts()

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            split_base_url(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_policy(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        served = values.get("base_url") is not None or values.get("backend") == "openai"
        return {**values, "policy": None} if served else values

    @model_validator(mode="after")
    def _some_policy(self) -> ModelConfig:
        if self.base_url is None and self.policy is None and self.backend != "openai":
            raise ValueError("give base_url (a server) or policy (an embedded policy's name)")
        return self


class RayConfig(_Section):
    """Where the workers run when ``workers`` is above 0."""

    address: str | None = None  # null: a Ray of our own on this machine; "auto" or an address: a cluster
    runtime_env: dict[str, Any] = {}  # handed to Ray as it is
    cpus_per_worker: Annotated[float, Field(ge=0)] = 1.0


class SandboxConfig(_Section):
    """What the run wants otherwise than the environment; null leaves a field as it is there."""

    backend: Backend | None = (
        None  # set: every rollout has a sandbox, also where the environment asks for none
    )
    limits: dict[str, _Positive] = {}  # fields of SandboxLimits
    network: bool | None = None
    image: str | None = None  # docker and podman
    mounts: list[Annotated[Mount, *_section_of(Mount)]] | None = None
    environment: dict[str, str] | None = None  # variables of every command
    warm: _Natural = 0  # sandboxes that each worker keeps ready ahead of its rollouts
    most: _Positive | None = None  # sandboxes of one worker at a time; null: no bound but concurrency

    @field_validator("limits")
    @classmethod
    def _limits_exist(cls, value: dict[str, int]) -> dict[str, int]:
        for name in value:
            if name not in SandboxLimits.__struct_fields__:
                near = nearest(name, SandboxLimits.__struct_fields__)
                raise PydanticCustomError("in_section", "unknown field{near}", {"near": near, "field": name})
        return value

    @property
    def changes(self) -> SandboxChanges:
        """To be applied to the environment's own specs."""
        fields = SandboxChanges.__struct_fields__
        return SandboxChanges(**{name: getattr(self, name) for name in fields})


class ApprovalConfig(_Section):
    """Which calls may run, decided before each of them."""

    rules: list[Annotated[ApprovalRule, *_section_of(ApprovalRule)]] = []  # the first that fits decides
    default: Decision | None = (
        None  # where none fits; null: "ask" where there is somebody to ask, else "deny"
    )
    ask: str | None = None  # path/to/file.py:function, called with an ApprovalRequest
    timeout: _Seconds | None = 300.0  # seconds that `ask` has; then the call is denied

    @model_validator(mode="after")
    def _somebody_to_ask(self) -> ApprovalConfig:
        if self.ask is None and "ask" in (self.default, *(rule.decide for rule in self.rules)):
            raise ValueError(
                "a call is to be asked about, and there is nobody to ask: set ask to file.py:function"
            )
        return self


class ToolsConfig(_Section):
    """What the run adds to the environment's tools, what it forbids, and what it keeps."""

    add: list[str] = []  # toolsets, or single built-in tools, that every rollout has besides its own
    sample: Annotated[ToolsetDistribution, *_section_of(ToolsetDistribution)] | None = None
    """Toolsets that are drawn by chance, the same for all samples of a task."""
    http_hosts: list[str] = []  # hosts that http_get may fetch; none: there is no http_get
    rules: list[Annotated[Rule, *_section_of(Rule)]] = []  # the first that fits a call decides
    approval: ApprovalConfig | None = None  # null: what the rules allow may run
    mcp: list[Annotated[McpServer, *_section_of(McpServer)]] = []
    keep_results: bool = False  # write results that are too long to show whole into the sandbox
    record: bool = False  # keep every call's answer, and each sandbox as its rollout left it
    replay: str | None = None  # a run directory with recordings: calls are answered from it, no tool runs

    @model_validator(mode="after")
    def _one_tape(self) -> ToolsConfig:
        if self.record and self.replay is not None:
            raise ValueError("record and replay exclude each other: a replay runs no tool")
        return self


class WandbConfig(_Section):
    """Run tracking. Off unless ``enabled``."""

    enabled: bool = False
    project: str = "rollway"
    entity: str | None = None
    name: str | None = None  # null: the run directory's name
    mode: Literal["online", "offline"] | None = None  # null: what wandb is set to


class EvalConfig(_Section):
    """One run: what is asked (it must stay the same for a run to be gone on with), and how it is done.

    Which field is which, `rollway.evaluation.run_directory.same_run` says.
    """

    environment: str  # a shipped one's name, path/to/file.py[:Class], or module:Class
    environment_args: dict[str, Any] = {}  # keyword arguments of the environment's class
    split: str | None = None  # null: "train" with groups, else "test"
    tasks: _Positive | None = None  # the first so many of the split; null: all
    task_ids: list[str] | None = None  # these only, in this order; not together with `tasks`
    samples: _Positive = 1  # rollouts of each task
    groups: bool = False  # a task's samples are a group: group_id is set, advantages are filled in
    seed: int | None = 0  # null: no seed is sent to the server
    model: ModelConfig = ModelConfig()
    tool_parser: str | None = "hermes"  # calls that the server left in the text; auto, a format, or null
    reasoning_parser: str | None = None  # thoughts that it left in the text; auto, a format, or null
    sampling: Annotated[Sampling, *_section_of(Sampling)] = Sampling()
    limits: Annotated[Limits, *_section_of(Limits)] = Limits()
    tools: ToolsConfig = ToolsConfig()
    sandbox: SandboxConfig = SandboxConfig()

    workers: _Natural = 1  # processes under Ray; 0: in this process, without Ray
    concurrency: _Positive = 32  # rollouts in flight per worker
    pool_size: _Positive = 32  # threads for sync tools per worker
    stop_after_failures: _Positive | None = 32  # failed in a row: stop handing out; null: never
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
        if self.out is not None:
            settled["out"] = str(Path(self.out).expanduser().resolve())
        return self.model_copy(update=settled | changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as ``config.yaml`` holds them."""
        return self.model_dump(mode="json")
