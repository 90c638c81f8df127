"""The bodies of requests.

Fields that are not listed are ignored, as in vLLM. Fields that would change what is sampled and that this
server cannot do are listed, so that they can be refused.
"""

from __future__ import annotations

from typing import Any

import msgspec


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream carries besides the tokens."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingFields(msgspec.Struct, kw_only=True):
    """How tokens are drawn, as requests say it. ``None`` is the server's default."""

    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    max_tokens: int | None = None
    prompt_logprobs: int | None = None

    # refused unless they ask for nothing
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[int] | None = None
    logprob_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    structured_outputs: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    use_beam_search: bool = False
    truncate_prompt_tokens: int | None = None
    echo: bool | None = None


class _Common(SamplingFields, kw_only=True):
    model: str | None = None
    request_id: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None


class ChatRequest(_Common, kw_only=True):
    """``/v1/chat/completions``"""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    max_completion_tokens: int | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class CompletionRequest(_Common, kw_only=True):
    """``/v1/completions``"""

    prompt: Any = None  # a text, token ids, or a list of either
    logprobs: int | None = None
    max_tokens: int | None = 16
    add_special_tokens: bool = True
    suffix: str | None = None


class GenerateSampling(SamplingFields, kw_only=True):
    """The ``sampling_params`` of ``/inference/v1/generate``."""

    logprobs: int | None = None


class GenerateRequest(msgspec.Struct, kw_only=True):
    """``/inference/v1/generate``"""

    token_ids: list[int]
    sampling_params: GenerateSampling
    model: str | None = None
    request_id: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    output_mode: str = "tokens"


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """``/tokenize``: a text or a chat."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """``/detokenize``"""

    tokens: list[int]
    model: str | None = None


class AbortRequest(msgspec.Struct, kw_only=True):
    """``/inference/v1/abort_requests``"""

    request_ids: list[str]
