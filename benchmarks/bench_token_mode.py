"""CPU of one turn in token mode against the length of the history.

"ids" is the client's work on the prompt, "JSON" the writing of its ids, "record" what the loop does with the
reply. "turn" is a whole `TokenClient.generate`: the two first, HTTP, and a server in this process that reads
the request and answers at once. "anew" is what a client pays that renders and tokenises everything each turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from rollway.embedded.policy import find_policy
from rollway.environments.calculator import CalculatorEnvironment
from rollway.inference import CompletionRequest, TokenClient
from rollway.inference.prompt_writer import PromptWriter
from rollway.inference.protocol import PromptPrefix
from rollway.sequences import PromptChain
from rollway.trajectory import Message, Turn

TURNS = (8, 64, 256, 1024)  # before the one that is measured
SAMPLED = 40
REPEATS = 20


def conversation(writer: PromptWriter, tools: list[dict[str, Any]], turns: int) -> CompletionRequest:
    """A history of calls and results."""
    messages: list[Message] = [{"role": "user", "content": "What is 2 + 3?"}]
    function = {"name": "add", "arguments": '{"a": 2, "b": 3}'}
    for index in range(turns):
        call = {"id": f"call_{index}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"call_{index}", "name": "add", "content": "5"})
    whole = writer.template.render(messages[:-1], tools, add_generation_prompt=False).rstrip("\n")
    prefix = PromptPrefix(writer.tokenizer.encode(whole), SAMPLED, len(messages) - 1)
    return CompletionRequest(messages=messages, tools=tools, prefix=prefix)


def record(prefix: PromptPrefix, prompt: list[int]) -> None:
    """What the loop does to enter a turn."""
    chain = PromptChain()
    chain.token_ids, chain.sampled = prefix.token_ids, prefix.sampled
    chain.add(Turn(index=1, token_ids=[1] * SAMPLED), prompt)


def cpu_of(action: Callable[[], object]) -> float:
    """Milliseconds of CPU, the least of several runs."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        action()
        best = min(best, time.process_time() - started)
    return best * 1e3


class _Sink:
    """A server that reads a request and answers with one reply, in this process."""

    def __init__(self, reply: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(reply)}\r\n\r\n"
        self._answer = head.encode() + reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                await reader.readexactly(length)
                writer.write(self._answer)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()


def _reply() -> bytes:
    ids = list(range(100, 100 + SAMPLED))
    content = [{"token_id": token, "logprob": -0.5, "rank": 1, "top_logprobs": []} for token in ids]
    choice = {"token_ids": ids, "finish_reason": "stop", "logprobs": {"content": content}}
    return msgspec.json.encode({"choices": [choice], "model": "calculator"})


async def whole_turn(request: CompletionRequest) -> float:
    """Milliseconds of CPU of `TokenClient.generate`, the sink's included."""
    server = await asyncio.start_server(_Sink(_reply()).serve, "127.0.0.1", 0, limit=1 << 24)
    address = server.sockets[0].getsockname()
    async with server:
        client = TokenClient(
            f"http://127.0.0.1:{address[1]}", "calculator", find_policy("calculator"), endpoint="generate"
        )
        async with client:
            await client.generate(request)
            best = float("inf")
            for _ in range(REPEATS):
                started = time.process_time()
                await client.generate(request)
                best = min(best, time.process_time() - started)
    return best * 1e3


def main(argv: list[str]) -> None:
    writer = PromptWriter(find_policy("calculator"))
    tools = [tool.definition() for tool in CalculatorEnvironment().tools]
    stops = writer.tokenizer.stop_ids
    print("milliseconds of CPU for one turn")
    print("    turns   history     ids    JSON   record    turn     anew")
    for turns in TURNS:
        request = conversation(writer, tools, turns)
        assert request.prefix is not None
        prompt = writer.write(request, stops).token_ids
        assert prompt[: len(request.prefix.token_ids)] == request.prefix.token_ids
        anew = CompletionRequest(messages=request.messages, tools=tools)
        costs = [
            cpu_of(partial(writer.write, request, stops)),
            cpu_of(partial(msgspec.json.encode, prompt)),
            cpu_of(partial(record, request.prefix, prompt)),
            asyncio.run(whole_turn(request)),
            cpu_of(partial(writer.write, anew, stops)),
        ]
        print(f"{turns:9,} {len(prompt):9,} " + " ".join(f"{cost:7.2f}" for cost in costs))
