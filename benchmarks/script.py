"""What the scripted model says: the same bytes to everybody, in the shape of vLLM's chat replies.

The standard library alone, so that a peer's environment can read it too. Turn ``k`` of a script is a reply
with one call of `TOOL_NAME`, the turn after the last an answer. The ids of each prompt begin with those of
the prompt before and of what was sampled then.
"""

from __future__ import annotations

import json
import random
import struct
from typing import Any, NamedTuple

TOOL_NAME = "lookup"
QUESTION = "What does the inventory say about the parts in the list? Look each of them up."
ANSWER = "The answer is 42."
VOCABULARY = 150_000
FIRST_PROMPT = 180  # ids of the template, the tool and the question
RESULT_IDS = 24  # ids that a tool's result adds to the prompt
CALL_IDS = 20  # sampled ids that spell the call; the others spell the text before it
WORD = " stock"  # one token of text

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "Look a part up in the inventory.",
        "parameters": {
            "type": "object",
            "properties": {
                "part": {"type": "string", "description": "The part's name."},
                "count": {"type": "integer", "description": "How many are needed."},
            },
            "required": ["part", "count"],
        },
    },
}


class Script(NamedTuple):
    """A conversation: ``turns`` replies with a call each, then the answer, each of ``tokens`` sampled ids."""

    tokens: int
    turns: int
    delay: float = 0.0  # seconds until a reply is sent
    held: int | None = None  # the only reply that is delayed; None: every one

    @property
    def path(self) -> str:
        """Where it stands on the server: the path before ``/v1``."""
        held = "" if self.held is None else f"-{self.held}"
        return f"/{self.tokens}-{self.turns}-{round(self.delay * 1000)}{held}"

    @classmethod
    def of(cls, path: str) -> Script:
        """The script that a path names."""
        tokens, turns, delay, *held = path.strip("/").split("/")[0].split("-")
        return cls(int(tokens), int(turns), int(delay) / 1000, int(held[0]) if held else None)

    def replies(self) -> list[dict[str, Any]]:
        """All replies in order."""
        draw = random.Random(self.tokens)
        prompt = _ids(draw, FIRST_PROMPT)
        replies = []
        for turn in range(self.turns + 1):
            sampled = _ids(draw, self.tokens)
            replies.append(_reply(turn, self, prompt, sampled, draw))
            prompt = prompt + sampled + _ids(draw, RESULT_IDS)
        return replies


def call_arguments(turn: int) -> str:
    return json.dumps({"part": f"valve-{turn}", "count": turn + 1})


def _ids(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(VOCABULARY) for _ in range(count)]


def _reply(
    turn: int, script: Script, prompt: list[int], sampled: list[int], draw: random.Random
) -> dict[str, Any]:
    last = turn == script.turns
    words = WORD * max(1, script.tokens - CALL_IDS)
    message: dict[str, Any] = {"role": "assistant", "content": words + (f". {ANSWER}" if last else "")}
    if not last:
        function = {"name": TOOL_NAME, "arguments": call_arguments(turn)}
        message["tool_calls"] = [
            {"id": f"chatcmpl-tool-{turn:08x}", "type": "function", "function": function}
        ]
    content = [
        {
            "token": WORD,
            "logprob": _float32(-draw.random() * 3),
            "bytes": list(WORD.encode()),
            "top_logprobs": [],
        }
        for _ in sampled
    ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": content},
        "finish_reason": "stop" if last else "tool_calls",
        "stop_reason": None,
        "token_ids": sampled,
    }
    usage = {"prompt_tokens": len(prompt), "completion_tokens": len(sampled)}
    return {
        "id": f"chatcmpl-{turn}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "scripted",
        "choices": [choice],
        "usage": usage | {"total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]},
        "prompt_token_ids": prompt,
    }


def _float32(value: float) -> float:
    """As servers write logprobs: a 32-bit float with the digits of a 64-bit one."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
