"""What a rollout in flight weighs, beyond its messages and tokens.

The server holds the second reply of every rollout back until all have asked for it. The memory at that
moment, of many rollouts less that of few, over the difference, is what one more costs; from it goes what the
messages, ids and logprobs take up as Python objects.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.engine import WARM_UP
from benchmarks.options import parser, table
from benchmarks.runs import run_program
from benchmarks.script import FIRST_PROMPT, QUESTION, Script, call_arguments
from benchmarks.serving import ScriptedServer, scripted_server

TOKENS = 256
FULL = (512, 4096)
QUICK = (64, 512)
MILLISECONDS = 4.0  # that a rollout may take to get to where it is held, on a busy machine


def main(argv: list[str]) -> None:
    made = parser("memory", __doc__ or "")
    made.add_argument("--in-flight", type=int, nargs=2, metavar=("FEW", "MANY"))
    options = made.parse_args(argv)
    few, many = options.in_flight or (FULL if options.full else QUICK)
    payload = payload_bytes(Script(TOKENS, 2).replies()[0])
    lines = []
    with scripted_server() as server:
        for name, module, warm_up in (
            ("floor", "benchmarks.floor", 1),
            ("engine", "benchmarks.engine", WARM_UP),
        ):
            low, high = (held_bytes(server, module, count, warm_up) for count in (few, many))
            each = (high - low) / (many - few)
            lines.append([name, f"{low / 2**20:,.0f} MB", f"{high / 2**20:,.0f} MB"])
            lines[-1] += [
                f"{each / 1024:.1f} KB",
                f"{payload / 1024:.1f} KB",
                f"{(each - payload) / 1024:.1f} KB",
            ]
    print(f"memory while each rollout waits for its second reply of {TOKENS} tokens:")
    heads = ["", f"{few:,} in flight", f"{many:,} in flight", "each", "messages and tokens", "beyond them"]
    table(heads, lines)


def held_bytes(server: ScriptedServer, module: str, count: int, warm_up: int) -> int:
    """Bytes of a process with ``count`` rollouts that all wait for the server."""
    hold = 2.0 + count * MILLISECONDS / 1e3
    script = Script(TOKENS, 2, delay=hold + 1.0, held=1)
    told = run_program(server, module, script, count, count, warm_up=warm_up, hold=hold)
    if told["most_waiting"] != count:
        raise RuntimeError(
            f"{told['most_waiting']} of {count} rollouts were held at a time; the machine is too busy"
        )
    return int(told["held_rss"])


def payload_bytes(reply: dict[str, Any]) -> int:
    """What the messages and the token data of one turn take up as Python objects."""
    message = reply["choices"][0]["message"]
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": message["content"] + " ", "tool_calls": message["tool_calls"]},
        {"role": "tool", "tool_call_id": "c" * 22, "name": "lookup", "content": "valve-0: 1 in stock"},
    ]
    number, pointer = sys.getsizeof(1 << 20), 8
    tokens = TOKENS * (number + pointer + sys.getsizeof(1.0) + pointer)  # ids and logprobs
    prompt = FIRST_PROMPT * (number + pointer)
    return deep_size(messages) + tokens + prompt + len(call_arguments(0))


def deep_size(value: Any) -> int:
    """Bytes of a value and of all in it; texts that name fields are shared, and left out."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(map(deep_size, value.values()))
    return size + sum(map(deep_size, value)) if isinstance(value, list) else size
