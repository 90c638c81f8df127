"""Replies of every shape, changed by chance: fields dropped, nulled, retyped, wrapped, the body cut.

    .venv/bin/python tests/reply_mutations.py 1000000

looks at a million of them, and names the seed of the first that is read wrongly. What must hold is in
`judge`: nothing but the client's typed errors comes out of a reply, none is a whole answer unless the change
left one, and no token is trained that was changed, or whose logprob or context was.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import msgspec

from rollway.agent_loop.stopping import reason_to_stop
from rollway.inference.chat_reply import read_chat_reply
from rollway.inference.errors import InferenceError
from rollway.inference.protocol import Completion
from rollway.inference.token_data import TokenDataGuard
from rollway.inference.token_endpoints import ENDPOINTS, TokenCall, read_reply
from rollway.inference.tries import TryFailed
from rollway.replies import read_reply as take_apart
from rollway.sequences import PromptChain, build_sequences, untrainable_reason
from rollway.trajectory import StopReason, Turn

PROMPT = list(range(100, 140))
IDS = [5, 6, 7, 8, 3]
LOGPROBS = [-0.5, -0.25, -1.5, -0.75, -0.125]
TEXT = "It rains."
ARGUMENTS = '{"city": "Lyon"}'
CALL = TokenCall(
    token_ids=PROMPT, server="s", model="m", request_id="r", fields={"max_tokens": 64}, cache_salt=None
)
_USAGE = {"prompt_tokens": len(PROMPT), "completion_tokens": len(IDS)}


@dataclass(frozen=True)
class Shape:
    """A good reply, and how a client reads it."""

    body: dict[str, Any]
    read: Callable[[bytes], Completion]


def _chat(message: dict[str, Any], finish: str, *, sglang: bool = False) -> Shape:
    entries = [{"token": "x", "logprob": value, "bytes": [120], "top_logprobs": []} for value in LOGPROBS]
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
    }
    choice |= {"logprobs": {"content": entries}, "stop_reason": None}
    body = {"id": "r", "object": "chat.completion", "model": "m", "choices": [choice], "usage": dict(_USAGE)}
    if sglang:
        choice |= {"response_token_ids": IDS, "prompt_token_ids": PROMPT}
    else:
        choice["token_ids"] = IDS
        body["prompt_token_ids"] = PROMPT
    return Shape(body, lambda raw: read_chat_reply(raw, server="s", model="m", max_tokens=64))


def _tokens(name: str, body: dict[str, Any]) -> Shape:
    return Shape(body, lambda raw: read_reply(ENDPOINTS[name], raw, CALL, server="s"))


_FUNCTION = {"name": "look_up", "arguments": ARGUMENTS}
SHAPES = {
    "chat": _chat({"content": TEXT, "reasoning": "Hm."}, "stop"),
    "chat, a call": _chat(
        {"content": None, "tool_calls": [{"id": "c", "function": _FUNCTION}]}, "tool_calls"
    ),
    "chat, a flat call": _chat({"content": TEXT, "tool_calls": [{"id": "c", **_FUNCTION}]}, "tool_calls"),
    "chat, an older call": _chat({"content": None, "function_call": _FUNCTION}, "function_call"),
    "chat, parts": _chat(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": TEXT},
            ]
        },
        "stop",
    ),
    "chat, a refusal": _chat({"content": None, "refusal": TEXT}, "stop", sglang=True),
    "generate": _tokens(
        "generate",
        {
            "request_id": "r",
            "prompt_token_ids": PROMPT,
            "choices": [
                {
                    "finish_reason": "stop",
                    "stop_reason": None,
                    "token_ids": IDS,
                    "weight_versions": [{"version": "1", "start": 0, "end": len(IDS)}],
                    "logprobs": {
                        "content": [
                            {"token_id": token, "logprob": value, "rank": 1, "top_logprobs": []}
                            for token, value in zip(IDS, LOGPROBS, strict=True)
                        ]
                    },
                }
            ],
            "usage": dict(_USAGE),
        },
    ),
    "completions": _tokens(
        "completions",
        {
            "id": "c",
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "text": TEXT,
                    "token_ids": IDS,
                    "prompt_token_ids": PROMPT,
                    "finish_reason": "stop",
                    "logprobs": {"token_logprobs": LOGPROBS, "tokens": []},
                }
            ],
            "usage": dict(_USAGE),
        },
    ),
    "sglang": _tokens(
        "sglang",
        {
            "text": TEXT,
            "output_ids": IDS,
            "meta_info": {
                "id": "r",
                "finish_reason": {"type": "stop", "matched": 3},
                **_USAGE,
                "output_token_logprobs": [
                    [value, token, None] for value, token in zip(LOGPROBS, IDS, strict=True)
                ],
            },
        },
    ),
}

_ODD: list[Any] = [
    None, True, False, 0, -1, 7, 12.0, 1.5, 1e300, -9999.0, "", "7", "x", "NaN", [], {}, [None], ["x"],
    {"x": 1}, [[]], {"text": "y"}, "\ud83d", "stop", "error", math.nan, math.inf, -math.inf, 2**70,
]  # fmt: skip


def mutated(seed: int) -> tuple[str, bytes]:
    """The name of a shape, and a body of it that was changed in one to three places, and perhaps cut."""
    rng = random.Random(seed)
    name = rng.choice(list(SHAPES))
    body = json.loads(json.dumps(SHAPES[name].body))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        body = _changed(body, rng)
    raw = json.dumps(body).encode()
    how = rng.random()
    if how < 0.1:
        raw = raw[: rng.randrange(len(raw))]
    elif how < 0.15:
        place = rng.randrange(len(raw))
        raw = raw[:place] + bytes([rng.randrange(256)]) + raw[place + 1 :]
    return name, raw


def _changed(body: Any, rng: random.Random) -> Any:
    places = list(_places(body))
    if not places or rng.random() < 0.03:
        return rng.choice(([body], {"data": body}, {"error": body}, [body, deepcopy(body)], _odd(rng)))
    holder, key = rng.choice(places)
    what = rng.randrange(6)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = None
    elif what == 2:
        holder[key] = rng.choice(([holder[key]], {"x": holder[key]}, {"text": holder[key]}))
    elif what == 3 and isinstance(holder, list):
        holder.insert(key, rng.choice((deepcopy(holder[key]), _odd(rng))))
    elif what == 4 and isinstance(holder, dict):
        holder[rng.choice(("error", "finish_reason", "message", "detail", "content"))] = _odd(rng)
    else:
        holder[key] = _odd(rng)
    return body


def _odd(rng: random.Random) -> Any:
    return deepcopy(rng.choice(_ODD))


def _places(value: Any) -> Any:
    """Every (holder, key) below ``value``."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


class _Quiet(TokenDataGuard):
    """Asks for all token data and says nothing of a gap."""

    def __init__(self) -> None:
        super().__init__(token_ids=True, logprobs=True, required=False)
        self._told = self._told_thought = True


def judge(name: str, raw: bytes) -> str | None:
    """What is wrong with how a body is read; None: nothing."""
    try:
        completion = SHAPES[name].read(raw)
        _Quiet().check(completion)
    except TryFailed as failed:
        single = isinstance(failed.error, InferenceError) and "\n" not in str(failed.error)
        return None if single else f"{failed.error!r} is no typed error of one line"
    turn, stop = _entered(completion)
    if stop is StopReason.COMPLETED and not _left_whole(name, raw):
        return "completed, but the change left no whole reply"
    return _trained_wrongly(turn, raw)


def _entered(completion: Completion) -> tuple[Turn, StopReason | None]:
    """The turn as the loop would record it, and why the rollout would stop with it."""
    reply = take_apart(completion, parser=None, reasoning_format=None, tools=[], used_ids=set(), turn=0)
    turn = Turn(
        index=0,
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
        content=reply.content or ("-" if completion.token_ids else None),  # in token mode, made of the ids
        tool_calls=reply.calls,
        finish_reason=completion.finish_reason,
        weight_versions=completion.weight_versions,
        usage=completion.usage,
    )
    PromptChain().add(turn, completion.prompt_token_ids)
    turn.untrainable = untrainable_reason(turn) or completion.untrainable
    msgspec.json.decode(msgspec.json.encode(turn), type=Turn)
    failed = completion.fault is not None
    return turn, reason_to_stop(turn, reply, None, at_stop=completion.at_stop, failed=failed)


def _trained_wrongly(turn: Turn, raw: bytes) -> str | None:
    """A token that stands in a sequence must be one that was sampled in this prompt, with its logprob, all of
    which the body still says."""
    for sequence in build_sequences([turn]):
        trained = [token for token, mask in zip(sequence.token_ids, sequence.loss_mask, strict=True) if mask]
        if not trained:
            continue
        if sequence.logprobs is None:
            return "trained without logprobs, though they were asked for"
        logprobs = [value for value, mask in zip(sequence.logprobs, sequence.loss_mask, strict=True) if mask]
        if not all(math.isfinite(value) and -1000 < value <= 1e-4 for value in logprobs):
            return f"trained on logprobs {logprobs}"
        said = _numbers(raw)
        if not set(trained) <= said or not set(logprobs) <= said:
            return "trained on what the body does not say"
        if not said >= set(sequence.token_ids) - set(PROMPT):
            return "trained behind a prompt that the body does not say"
        if turn.usage.completion_tokens > len(trained):
            return "trained on fewer tokens than the server counted"
        if turn.usage.prompt_tokens not in (0, len(sequence.token_ids) - len(trained)):
            return "trained behind a prompt of another length than the server counted"
    return None


def _loaded(raw: bytes) -> Any:
    """What a body says; NaN and Infinity, which are no JSON, say nothing."""
    return json.loads(raw.decode("utf-8", "replace"), parse_constant=lambda _: None)


def _numbers(raw: bytes) -> set[float]:
    found: set[float] = set()

    def walk(value: Any) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found.add(value)
        elif isinstance(value, (dict, list)):
            for each in value.values() if isinstance(value, dict) else value:
                walk(each)

    walk(_loaded(raw))
    return found


def _left_whole(name: str, raw: bytes) -> bool:
    """Whether a body is JSON, says a good end in so many letters, and has no error in it."""
    data = _loaded(raw)
    if name == "sglang":
        ends, errors = [data["meta_info"].get("finish_reason")], [data.get("error")]
    else:
        choices = data["choices"] if isinstance(data["choices"], list) else [data["choices"]]
        (choice,) = [each for each in choices if each is not None]
        ends, errors = [choice.get("finish_reason")], [data.get("error"), choice.get("error")]
    words = {end.get("type") if isinstance(end, dict) else end for end in ends if not isinstance(end, list)}
    return not any(errors) and bool(words & {"stop", "tool_calls", "function_call"})


def search(count: int, *, first: int = 0) -> str | None:
    """Look at so many changed replies; what is wrong with the first that is read wrongly, and its seed."""
    for seed in range(first, first + count):
        name, raw = mutated(seed)
        try:
            wrong = judge(name, raw)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong is not None:
            return f"seed {seed}, {name}: {wrong}\n{raw.decode('utf-8', 'replace')}"
    return None


if __name__ == "__main__":
    found = search(int(sys.argv[1]), first=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(found or f"{sys.argv[1]} changed replies, each read for what it is")
    sys.exit(found is not None)
