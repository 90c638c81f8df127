"""Texts parsed a second by this project's parsers and, where it is installed, by vLLM's, on the same texts.

Reads ``{format: {"text", "tools"}}`` as JSON from standard input and writes ``{format: {"ours", "vllm"}}``.
Run by `bench_parsers` with the Python of ``.venv-vllm``: both sides run in one process and take turns, so
that a machine which is busy in between slows both.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rollway.tool_parsers import get_parser

ROUNDS = 7
SECONDS = 0.08  # of each side in each round
CALLS = 3  # in each text


class Tokenizer:
    """As much of a tokenizer as vLLM's parsers ask for: a vocabulary with the text's tags in it."""

    def __init__(self, text: str) -> None:
        tags = sorted({*re.findall(r"<[^<>\s]+>|\[[A-Z_]+\]", text), "<think>", "</think>", "<|python_tag|>"})
        self.ids = {tag: index for index, tag in enumerate([*map(chr, range(128)), *tags])}
        self.all_special_tokens: list[str] = []
        self.all_special_ids: list[int] = []

    def get_vocab(self) -> dict[str, int]:
        return self.ids

    def encode(self, text: str, **_: Any) -> list[int]:
        return [self.ids.get(text, 0)]

    def decode(self, ids: list[int], **_: Any) -> str:
        names = {index: token for token, index in self.ids.items()}
        return "".join(names.get(index, "") for index in ids)


def rate(parse: Callable[[], Any]) -> float:
    """Texts a second over `SECONDS`."""
    done = 0
    begin = time.perf_counter()
    while (spent := time.perf_counter() - begin) < SECONDS:
        for _ in range(20):
            parse()
        done += 20
    return done / spent


def vllm_parse(name: str, text: str, tools: list[dict[str, Any]]) -> Callable[[], Any]:
    """A function that lets vLLM's parser read the text. Raises whatever vLLM raises."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionToolsParam
    from vllm.tool_parsers import ToolParserManager

    offered = [ChatCompletionToolsParam.model_validate(tool) for tool in tools]
    make = ToolParserManager.get_tool_parser(name)
    tokenizer = Tokenizer(text)
    request = SimpleNamespace(tools=offered, tool_choice="auto", skip_special_tokens=False)

    def count(parser: Any) -> int:
        return len(parser.extract_tool_calls(text, request).tool_calls)

    def fresh() -> int:
        return count(make(tokenizer, offered))

    parser = make(tokenizer, offered)
    if count(parser) == CALLS and count(parser) == CALLS:
        return lambda: count(parser)
    if fresh() != CALLS:
        raise ValueError(f"vLLM reads {fresh()} calls of {CALLS}")
    return fresh


def measure(name: str, text: str, tools: list[dict[str, Any]]) -> dict[str, float | str]:
    parser = get_parser(name)
    assert len(parser.parse(text, tools).tool_calls) == CALLS
    sides: dict[str, Callable[[], Any]] = {"ours": lambda: parser.parse(text, tools)}
    result: dict[str, float | str] = {}
    try:
        sides["vllm"] = vllm_parse(name, text, tools)
    except ImportError:
        pass  # no vLLM here: ours is measured alone
    except Exception as error:
        result["why"] = f"{type(error).__name__}: {error}"[:60]
    for side in sides:
        result[side] = 0.0
    for _ in range(ROUNDS):
        for side, parse in sides.items():
            result[side] = max(float(result[side]), rate(parse))
    return result


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps({name: measure(name, case["text"], case["tools"]) for name, case in asked.items()}))
