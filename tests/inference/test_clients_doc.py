"""The examples of docs/clients.md run as they stand."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from scripted_server import ScriptedServer, error, reply

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("example", "answer", "printed"),
    [
        (
            EXAMPLES[0],
            reply("7", token_ids=[1, 2], weight_version="step-3"),
            "7 stop\n2 tokens, sampled by weights step-3",
        ),
        (EXAMPLES[1], error(400, "max_tokens must be at least 1, got 0."), "the conversation is too long"),
        (EXAMPLES[2], reply("Hi"), "Hi Usage("),
    ],
    ids=["first", "failing", "hosted"],
)
async def test_an_example_runs(
    example: str, answer: object, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ScriptedServer([answer]) as server:
        program = example.replace("http://127.0.0.1:8000", server.url)
        assert program != example
        await asyncio.to_thread(exec, compile(program, PAGE.name, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.startswith(printed)


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 3
