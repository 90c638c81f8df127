"""The model section of a config: which server, which way of talking to it, and what it must return.

The invariant: there is a server or a policy to serve, never both.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rollway.evaluation.config.section import Seconds, Section
from rollway.inference.chat_request import ReasoningField
from rollway.inference.prompt_writer import OnMismatch
from rollway.inference.retry import RetryPolicy
from rollway.inference.token_client import Endpoint
from rollway.inference.transport import Timeouts, split_base_url


class ModelConfig(Section, frozen=True, kw_only=True):
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
    retry: RetryPolicy = RetryPolicy()
    timeouts: Timeouts = Timeouts()
    wait_for_server: Seconds | None = None  # seconds to wait at the start for a server that is not there yet

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_url is not None:
            split_base_url(self.base_url)
        if self.base_url is not None or self.backend == "openai":
            msgspec.structs.force_setattr(self, "policy", None)
        elif self.policy is None:
            raise ValueError("give base_url (a server) or policy (an embedded policy's name)")
