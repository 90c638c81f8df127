"""From a request's fields to checked `SamplingParams`, with vLLM's words for what is wrong."""

from __future__ import annotations

import math
from typing import Any

from rollway.embedded.policy import SamplingDefaults
from rollway.embedded.sampling import GREEDY_BELOW, SamplingParams
from rollway.embedded.server.errors import ApiError
from rollway.embedded.server.requests import SamplingFields

MAX_SAMPLES = 16384
"""Most samples of one prompt, as in vLLM."""

MAX_LOGPROBS = 20
"""Most candidates reported at one place, as in vLLM unless told otherwise."""

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
        raise ApiError("stop cannot contain an empty string.")
    return strings


def _check(params: SamplingParams, vocabulary: int) -> None:
    """vLLM's own checks, in its words."""
    temperature, top_p = params.temperature, params.top_p
    if params.n < 1:
        raise ApiError(f"n must be at least 1, got {params.n}.")
    if params.n > MAX_SAMPLES:
        raise ApiError(f"n must be at most {MAX_SAMPLES}, got {params.n}.")
    if not math.isfinite(temperature) or not 0 <= temperature <= 2:
        message = f"temperature must be in [0, 2], got {temperature}."
        raise ApiError(message, param="temperature", value=temperature)
    if not 0 < top_p <= 1:
        raise ApiError(f"top_p must be in (0, 1], got {top_p}.", param="top_p", value=top_p)
    if params.top_k < -1:
        raise ApiError(f"top_k must be 0 (disable), or at least 1, got {params.top_k}.")
    if not 0 <= params.min_p <= 1:
        raise ApiError(f"min_p must be in [0, 1], got {params.min_p}.")
    if params.max_tokens < 1:
        message = f"max_tokens must be at least 1, got {params.max_tokens}."
        raise ApiError(message, param="max_tokens", value=params.max_tokens)
    if params.min_tokens < 0:
        raise ApiError(f"min_tokens must be greater than or equal to 0, got {params.min_tokens}.")
    if params.min_tokens > params.max_tokens:
        raise ApiError(
            f"min_tokens must be less than or equal to max_tokens={params.max_tokens}, "
            f"got {params.min_tokens}."
        )
    if temperature < GREEDY_BELOW and params.n > 1:
        raise ApiError(f"n must be 1 when using greedy sampling, got {params.n}.")
    _check_logprobs("sample", "logprobs", params.logprobs)
    _check_logprobs("prompt", "prompt_logprobs", params.prompt_logprobs)
    wrong = [token for token in params.stop_token_ids if not 0 <= token < vocabulary]
    if wrong:
        raise ApiError(
            f"token_id(s) {wrong} in stop_token_ids contain out-of-vocab token ids. "
            f"Vocabulary size: {vocabulary}",
            param="stop_token_ids",
            value=wrong,
        )


def _check_logprobs(what: str, name: str, value: int | None) -> None:
    if value is None:
        return
    if value < 0:
        raise ApiError(f"{name} must be non-negative or -1, got {value}.", param=name, value=value)
    if value > MAX_LOGPROBS:
        raise ApiError(
            f"Requested {what} logprobs of {value}, which is greater than max allowed: {MAX_LOGPROBS}",
            param=name,
            value=value,
        )


def check_stream_options(stream: bool | None, options: object | None) -> None:
    """Raises:
    ApiError: 400, options of a stream without a stream.
    """
    if options is not None and not stream:
        raise ApiError("Stream options can only be defined when `stream=True`.", param="stream_options")
