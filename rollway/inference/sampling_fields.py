"""What shapes the distribution that tokens are drawn from, in each server's own words: one table.

The invariant: a field that shapes the distribution is never left to a server in silence. Unless the sampling
says ``defaults: server``, each field that the server knows is sent, with the value that changes nothing where
none was asked for, because servers fill gaps from the model's ``generation_config.json`` or from habits of
their own (llama.cpp: top_k 40, top_p 0.95, min_p 0.05).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from rollway.inference.errors import BadRequest
from rollway.inference.protocol import SHAPING, Sampling


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind of server is told how to draw."""

    neutral: dict[str, Any]  # by the server's names: what it knows, and the value that leaves the model's own
    names: dict[str, str] = {}  # from our name (vLLM's) to the server's, where they differ


NEUTRAL: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,  # which every version of vLLM, SGLang and llama.cpp takes for "all"; SGLang refuses 0
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""With these values tokens are drawn from the model's own distribution."""

VLLM = Spelling(neutral=NEUTRAL)
"""vLLM and ``rollway serve``, on every endpoint; SGLang's chat endpoint has the same names."""

SGLANG = Spelling(
    neutral=NEUTRAL,
    names={"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens", "seed": "sampling_seed"},
)
"""SGLang's ``/generate``."""

OPENAI = Spelling(
    neutral={
        name: NEUTRAL[name] for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")
    }
)
"""OpenAI and hosted providers that copy it: they answer 400 to a field that they do not know."""

LLAMA_CPP = Spelling(
    neutral={
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "dynatemp_range": 0.0,
        "xtc_probability": 0.0,
        "dry_multiplier": 0.0,
        "mirostat": 0,
        "adaptive_target": -1.0,
    },
    names={"repetition_penalty": "repeat_penalty", "max_tokens": "n_predict"},
)
"""llama.cpp's server, ``/completion`` and chat."""

_NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "repeat_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "typical_p": (1,),
    "top_n_sigma": (-1, 0),
    "dynatemp_range": (0,),
    "xtc_probability": (0,),
    "dry_multiplier": (0,),
    "mirostat": (0,),
    "adaptive_target": (-1,),
    "logit_bias": ({}, []),
    "allowed_token_ids": (),
    "bad_words": ([],),
    "min_tokens": (0,),
    "min_new_tokens": (0,),
    "tool_choice": ("auto", "none"),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "json_schema": (),
    "regex": (),
    "ebnf": (),
    "grammar": ("",),
    "structural_tag": (),
    "logits_processors": (),
    "custom_logit_processor": (),
}
"""Fields that change what tokens are drawn from, and the values with which they do not. None never does."""


def spell(fields: Mapping[str, Any], spelling: Spelling, *, neutral: bool) -> dict[str, Any]:
    """A request's fields in a server's words.

    Args:
        fields: by our names; None is not said.
        neutral: send what is not said as well, with the values that change nothing.
    """
    names = spelling.names
    said = {names.get(name, name): value for name, value in fields.items() if value is not None}
    if said.get("top_k") in (
        0,
        -1,
    ):  # "all" in other words than the server's, or to one that has no word for it
        del said["top_k"]
        if "top_k" in spelling.neutral:
            said["top_k"] = spelling.neutral["top_k"]
    return spelling.neutral | said if neutral else said


def effective(sampling: Sampling, spelling: Spelling = VLLM) -> dict[str, Any]:
    """What tokens are drawn with, as records say it: by our names, ``defaults`` first.

    A field that is absent was not sent: it is the server's own choice, or the server does not know it.
    """
    sent = spelling.neutral if sampling.defaults == "neutral" else {}
    found: dict[str, Any] = {"defaults": sampling.defaults}
    for name in SHAPING:
        value = getattr(sampling, name)
        if value is not None:
            found[name] = value
        elif (there := spelling.names.get(name, name)) in sent:
            found[name] = sent[there]
    extra = sampling.extra
    return found | {name: extra[name] for name in extra if name in _NEUTRAL_VALUES} if extra else found


def with_defaults(sampling: Sampling) -> Sampling:
    """The same sampling with the values that ``defaults`` stands for written out."""
    if sampling.defaults == "server":
        return sampling
    unsaid = {name: NEUTRAL[name] for name in SHAPING if getattr(sampling, name) is None}
    return msgspec.structs.replace(sampling, **unsaid)


def shaped_by(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields of an effective sampling that change the model's own distribution."""
    return {
        name: value
        for name, value in stated.items()
        if name in _NEUTRAL_VALUES and value is not None and value not in _NEUTRAL_VALUES[name]
    }


def with_mend(error: BadRequest, sampling: Sampling, spelling: Spelling) -> BadRequest:
    """The same refusal, with how to mend it where it names a field that was sent without being asked for."""
    if sampling.defaults != "neutral":
        return error
    ours = {there: name for name, there in spelling.names.items()}
    message = str(error)
    for name in spelling.neutral:
        said = getattr(sampling, ours.get(name, name), None) is not None or name in sampling.extra
        if not said and re.search(rf"\b{name}\b", message):
            mend = (
                f"{message}; {name} is sent so that the server does not choose a value of its own, and "
                "sampling.defaults: server leaves out what the sampling does not say"
            )
            return BadRequest(mend, status=error.status, attempts=error.attempts)
    return error
