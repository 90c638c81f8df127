"""What the loop asks of a model server, and what it gets: one protocol for every kind of client.

A client sends a `CompletionRequest` and returns a `Completion`, or raises one of `rollway.inference.errors`.
Retries live in the client and nowhere above it; the failed tries come back in ``attempts``.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from rollway.clock import RolloutClock
from rollway.inference.attempts import AttemptLog
from rollway.inference.exchanges import ExchangeLog
from rollway.trajectory import (
    Attempt,
    ErrorRecord,
    Message,
    ServerFields,
    ToolCall,
    TurnTiming,
    Untrainable,
    Usage,
    VersionSpan,
)

SHAPING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
"""The fields of `Sampling` that shape the distribution which tokens are drawn from."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are drawn. ``None`` in a field of `SHAPING` is the value with which it changes nothing (see
    ``defaults``), so that tokens are drawn from the model's own distribution where nothing else is said; in
    the other fields it leaves them to the server.

    Raises:
        ValueError: ``max_tokens`` is below 1, which servers report as a prompt that fills the context; or
            ``extra`` asks for several replies, or for one in pieces.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None  # 0 and -1: all tokens
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    defaults: Literal["neutral", "server"] = "neutral"
    """What is not said above: sent with the value that changes nothing, or left out, for the server to choose
    (from the model's ``generation_config.json``, or by its own habit)."""
    max_tokens: int | None = None  # per turn
    stop: list[str] | None = None
    seed: int | None = None
    extra: dict[str, Any] = {}  # goes into the request as it is, over all other fields

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"sampling.max_tokens must be at least 1 or null, got {self.max_tokens}")
        if self.extra.get("n") not in (None, 1):
            raise ValueError(
                "extra: each request is for one reply: remove 'n' from sampling.extra, and set samples for "
                "more rollouts per task"
            )
        if self.extra.get("stream"):
            raise ValueError("extra: replies are read whole: remove 'stream' from sampling.extra")


class PromptPrefix(msgspec.Struct, frozen=True):
    """The ids that the next prompt should begin with: the last turn's whole prompt and what it sampled."""

    token_ids: list[int]  # never changed by a client
    sampled: int  # how many of them, at the end, were sampled
    messages: int  # messages of the request that they stand for, the last one being the sampled reply


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One model call."""

    messages: list[Message]  # never changed by a client
    prefix: PromptPrefix | None = None  # for clients that send ids; None: nothing was sampled yet, or unknown
    tools: list[dict[str, Any]] = []  # OpenAI tool definitions
    special_tokens: bool = False  # whether the reply's text must hold them: they mark its calls or thoughts
    sampling: Sampling = Sampling()
    rollout_budget: bool = False  # max_tokens is what the whole rollout has left: it may exceed a context
    request_id: str = ""  # unique per call; lets the server abort it
    deadline: float | None = None  # `time.monotonic()` moment after which no try is begun or kept
    exchanges: ExchangeLog | None = None  # the client enters what it sends and what comes back, as it is
    tried: AttemptLog | None = None  # the client enters every failed try, also of a call that is cancelled
    clock: RolloutClock | None = None  # of the rollout: the client enters on it what it only waits for


class Completion(msgspec.Struct, kw_only=True):
    """One reply. Lists of token data are ``None`` when the server did not give them."""

    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] = []  # as the server parsed them; ids may be empty or repeated
    finish_reason: str = ""  # the server's word
    at_stop: bool | None = None  # the last sampled token ends a reply; None: not known
    fault: ErrorRecord | None = None  # what the server says went wrong in the middle of the reply
    server_fields: ServerFields | None = None  # what the server added to its own message
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    untrainable: Untrainable | None = None  # what is wrong with the token data, beyond what is absent
    usage: Usage = Usage()
    model: str = ""
    server: str = ""
    reply_id: str = ""  # the server's own id of the reply, as in its log; "" where it gives none
    weight_version: str | None = None  # the last one, where there are several
    weight_versions: list[VersionSpan] = []  # over all of token_ids, or empty
    resumes: int = 0  # times that an aborted generation went on from what it had
    prompt_end: str = ""  # the last characters of the prompt, where the client rendered it
    rerendered: bool = False  # the prompt was made anew from the messages, although there was a prefix
    dropped_stop: bool = False  # the prompt leaves out the prefix's last id; see `Turn.dropped_stop`
    attempts: list[Attempt] = []
    timing: TurnTiming = TurnTiming()


class Client(Protocol):
    """A model behind a server. Cancelling `generate` aborts the request on the server."""

    async def generate(self, request: CompletionRequest) -> Completion: ...

    async def close(self) -> None: ...
