"""From a request's fields to checked `SamplingParams`, with vLLM's words for what is wrong."""

from __future__ import annotations

import math
from typing import Any

from rollway.embedded.policy import SamplingDefaults
from rollway.embedded.sampling import GREEDY_BELOW, SamplingParams
from rollway.embedded.server.errors import ApiError, invalid_body
from rollway.embedded.server.requests import SamplingFields

MAX_SAMPLES = 16384
"""Most samples of one prompt, as in vLLM."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "logit_bias": (None, {}),
    "allowed_token_ids": (None,),
    "logprob_token_ids": (None, []),
    "bad_words": (None, []),
    "structured_outputs": (None,),
    "response_format": (None, {"type": "text"}),
    "use_beam_search": (False,),
    "truncate_prompt_tokens": (None,),
    "echo": (None, False),
}
"""Fields of vLLM that this server does not do, and the values with which they ask for nothing."""


def sampling_params(
    fields: SamplingFields,
    *,
    prompt_length: int,
    max_length: int,
    max_tokens: int | None,
    logprobs: int | None,
    defaults: SamplingDefaults,
    vocabulary: int,
) -> SamplingParams:
    """Check and complete what a request says.

    Args:
        prompt_length: tokens of its prompt, already known to fit into the context.
        max_length: the model's context.
        max_tokens: as asked for; None takes what is left of the context, which bounds it in any case.
        logprobs: most likely tokens to report; None for no logprobs.

    Raises:
        ApiError: 400, a value is out of range or asks for what this server does not do.
    """
    refuse_unsupported(fields)
    left = max_length - prompt_length
    seed = None if fields.seed == -1 else fields.seed
    params = SamplingParams(
        max_tokens=left if max_tokens is None else min(max_tokens, left),
        temperature=_given(fields.temperature, defaults.temperature),
        top_p=_given(fields.top_p, defaults.top_p),
        top_k=_given(fields.top_k, defaults.top_k),
        min_p=_given(fields.min_p, defaults.min_p),
        seed=seed,
        n=_given(fields.n, 1),
        stop=_stop_strings(fields.stop),
        stop_token_ids=tuple(fields.stop_token_ids or ()),
        ignore_eos=fields.ignore_eos,
        min_tokens=fields.min_tokens,
        include_stop_str_in_output=fields.include_stop_str_in_output,
        skip_special_tokens=fields.skip_special_tokens,
        logprobs=vocabulary if logprobs == -1 else logprobs,
        prompt_logprobs=vocabulary if fields.prompt_logprobs == -1 else fields.prompt_logprobs,
    )
    _check(params, vocabulary)
    return params


def refuse_unsupported(fields: SamplingFields) -> None:
    """Refuse what would be sampled differently than asked, rather than ignore it.

    Raises:
        ApiError: 400.
    """
    for name, neutral in _NEUTRAL.items():
        if getattr(fields, name) not in neutral:
            raise ApiError(f"`{name}` is not supported by the embedded server; serve with vLLM", param=name)


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    if any(not string for string in strings):
        raise ApiError("stop cannot contain an empty string.", param="stop")
    return strings


def _check(params: SamplingParams, vocabulary: int) -> None:
    """vLLM's own checks, in its order."""
    if params.n < 1:
        raise ApiError(f"n must be at least 1, got {params.n}.", param="n")
    if params.n > MAX_SAMPLES:
        raise ApiError(f"n must be at most {MAX_SAMPLES}, got {params.n}.", param="n")
    if not math.isfinite(params.temperature) or not 0 <= params.temperature <= 2:
        raise ApiError(f"temperature must be in [0, 2], got {params.temperature}.", param="temperature")
    if not 0 < params.top_p <= 1:
        raise ApiError(f"top_p must be in (0, 1], got {params.top_p}.", param="top_p")
    if params.top_k < -1:
        raise ApiError(f"top_k must be 0 (disable), or at least 1, got {params.top_k}.", param="top_k")
    if not 0 <= params.min_p <= 1:
        raise ApiError(f"min_p must be in [0, 1], got {params.min_p}.", param="min_p")
    if params.max_tokens < 1:
        raise ApiError(f"max_tokens must be at least 1, got {params.max_tokens}.", param="max_tokens")
    if not 0 <= params.min_tokens <= params.max_tokens:
        raise ApiError(
            f"min_tokens must be between 0 and max_tokens={params.max_tokens}, got {params.min_tokens}.",
            param="min_tokens",
        )
    if params.temperature < GREEDY_BELOW and params.n > 1:
        raise ApiError(f"n must be 1 when using greedy sampling, got {params.n}.", param="n")
    for name in ("logprobs", "prompt_logprobs"):
        value = getattr(params, name)
        if value is not None and not 0 <= value <= vocabulary:
            raise ApiError(f"{name} must be non-negative or -1, and at most {vocabulary}, got {value}.")
    wrong = [token for token in params.stop_token_ids if not 0 <= token < vocabulary]
    if wrong:
        raise ApiError(
            f"stop_token_ids contain out-of-vocab token ids {wrong}. Vocabulary size: {vocabulary}",
            param="stop_token_ids",
        )


def check_stream_options(stream: bool | None, options: object | None) -> None:
    """Raises:
    ApiError: 400, options of a stream without a stream.
    """
    if options is not None and not stream:
        raise invalid_body("Stream options can only be defined when `stream=True`.", "stream_options")
