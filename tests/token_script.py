"""Replies of ids for the scripted server, in the shapes of vLLM's generate and completions, of SGLang and of
llama.cpp.

    script = TokenScript(["Hello<|im_end|>", Sampled([5, 6], finish_reason="length")], tokenizer)
    async with ScriptedServer(script, models=["m"]) as server: ...

A text is sampled letter by letter, so that its split is hardly ever the tokenizer's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripted_server import ScriptedRequest, Step, error

from rollway.inference.folder_tokenizer import FolderTokenizer


@dataclass(frozen=True)
class Sampled:
    """What the server samples for one request."""

    ids: Sequence[int]
    finish_reason: str = "stop"
    logprobs: Sequence[float] | None = None  # None: made up from the ids
    versions: Sequence[tuple[str, int, int]] | None = None
    version: str | None = None  # SGLang's one version
    stop_reason: str | int | None = None


def letters(text: str, tokenizer: FolderTokenizer) -> list[int]:
    """Ids of a text letter by letter, special tokens whole."""
    special = sorted((tokenizer.text_of(token) for token in tokenizer.special_ids), key=len, reverse=True)
    pieces = re.split("(" + "|".join(map(re.escape, special)) + ")", text)
    ids: list[int] = []
    for piece in pieces:
        for part in [piece] if piece in special else piece:
            ids += tokenizer.encode_after(part)
    return ids


def made_up(ids: Sequence[int]) -> list[float]:
    """A logprob for each id that tells which one it is."""
    return [-(token + 1) / 1024 for token in ids]


class TokenScript:
    """A script for `ScriptedServer`: one entry per request for ids, whatever the endpoint.

    An entry is a text, a `Sampled`, or a `Step` to be sent as it is. Endpoints in ``closed`` answer 404.
    """

    def __init__(
        self,
        entries: Sequence[Any],
        tokenizer: FolderTokenizer,
        *,
        closed: Sequence[str] = (),
        closed_status: int = 404,
    ) -> None:
        self._entries = list(entries)
        self._tokenizer = tokenizer
        self._closed = closed
        self._closed_status = closed_status
        self.asked: list[dict[str, Any]] = []  # bodies of the requests for ids
        self.tokenized: list[int] = []  # what /tokenize answers; empty: there is none

    @property
    def prompts(self) -> list[list[int]]:
        return [body.get("token_ids") or body.get("prompt") or body.get("input_ids") for body in self.asked]

    def __call__(self, request: ScriptedRequest) -> Any:
        if request.path in self._closed:
            return error(self._closed_status, "Not Found")
        if request.body == {}:
            return error(400, "Field required")
        if request.path == "/tokenize":
            return {"tokens": self.tokenized} if self.tokenized else error(404, "Not Found")
        self.asked.append(request.body)
        if len(self.asked) > len(self._entries):
            return error(400, f"request {len(self.asked)}, but the script has {len(self._entries)}")
        entry = self._entries[len(self.asked) - 1]
        if isinstance(entry, Step):
            return entry
        sampled = Sampled(letters(entry, self._tokenizer)) if isinstance(entry, str) else entry
        return _SHAPES[request.path](sampled, request.body)


def _logprobs(sampled: Sampled) -> list[float]:
    return made_up(sampled.ids) if sampled.logprobs is None else list(sampled.logprobs)


def generate_reply(sampled: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    content = [
        {"token_id": token, "logprob": logprob, "rank": 1, "top_logprobs": []}
        for token, logprob in zip(sampled.ids, _logprobs(sampled), strict=False)
    ]
    versions = sampled.versions and [
        {"version": version, "start": start, "end": end} for version, start, end in sampled.versions
    ]
    choice = {
        "index": 0,
        "finish_reason": sampled.finish_reason,
        "stop_reason": sampled.stop_reason,
        "token_ids": list(sampled.ids),
        "weight_versions": versions,
        "logprobs": {"content": content},
    }
    usage = {"prompt_tokens": len(body["token_ids"]), "completion_tokens": len(sampled.ids)}
    return {"request_id": "generate-tokens-1", "model": "m", "usage": usage, "choices": [choice]}


def completion_reply(sampled: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    choice = {
        "index": 0,
        "text": "not looked at",
        "finish_reason": sampled.finish_reason,
        "stop_reason": sampled.stop_reason,
        "token_ids": list(sampled.ids),
        "prompt_token_ids": body["prompt"],
        "logprobs": {"token_logprobs": _logprobs(sampled), "tokens": [], "text_offset": []},
    }
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [choice]}


def sglang_reply(sampled: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(_logprobs(sampled), sampled.ids, strict=False)
    meta = {
        "id": body.get("rid"),
        "finish_reason": {"type": sampled.finish_reason, "matched": sampled.stop_reason},
        "prompt_tokens": len(body["input_ids"]),
        "completion_tokens": len(sampled.ids),
        "cached_tokens": 3,
        "weight_version": sampled.version,
        "output_token_logprobs": [[logprob, token, None] for logprob, token in pairs],
    }
    if sampled.versions is not None:
        meta["weight_versions"] = [
            {"version": version, "start": start, "end": end} for version, start, end in sampled.versions
        ]
    return {"text": "not looked at", "output_ids": list(sampled.ids), "meta_info": meta}


_STOP_TYPES = {"stop": "eos", "length": "limit"}


def llama_reply(sampled: Sampled, body: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(sampled.ids, _logprobs(sampled), strict=False)
    return {
        "content": "not looked at",
        "tokens": list(sampled.ids),
        "model": "m",
        "tokens_predicted": len(sampled.ids),
        "tokens_evaluated": len(body["prompt"]),
        "truncated": False,
        "stop_type": _STOP_TYPES[sampled.finish_reason],
        "stopping_word": "",
        "tokens_cached": len(body["prompt"]) + len(sampled.ids) - 1,
        "timings": {"cache_n": 3, "prompt_n": len(body["prompt"]) - 3},
        "completion_probabilities": [{"id": token, "logprob": logprob} for token, logprob in pairs],
    }


_SHAPES = {
    "/completion": llama_reply,
    "/inference/v1/generate": generate_reply,
    "/v1/completions": completion_reply,
    "/generate": sglang_reply,
}
