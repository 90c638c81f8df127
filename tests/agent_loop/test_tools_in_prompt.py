"""Tools, calls and results in a format's own words, where the template has no place for them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from loop_bench import QUESTION, add, assert_valid, bench
from rich.console import Console
from scripted_server import ScriptedRequest, ScriptedServer, error, reply
from template_families import CHATML, GEMMA, write_folder
from token_script import TokenScript

from rollway.agent_loop import AgentLoop
from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig
from rollway.evaluation.run import evaluate_async
from rollway.inference import ChatClient, TokenClient
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.tools_seen import folder_shows_tools
from rollway.tool_parsers import get_parser, list_parsers
from rollway.tool_parsers.prompting import tools_text
from rollway.tools import ToolPool
from rollway.trajectory import PromptFit, StopReason, Trajectory

GOOD = '<tool_call>\n{"name": "add", "arguments": {"a":  2, "b": 3}}\n</tool_call>'
BAD = '<tool_call>{"name": "add", "arguments": {</tool_call>'
SYSTEM = {"role": "system", "content": "Be brief."}


async def asked(
    replies: list[Any], messages: list[Any] = QUESTION, **options: Any
) -> tuple[Trajectory, list[Any]]:
    """A rollout with tools in the prompt, and the body of each request."""
    async with bench(replies) as it:
        trajectory = await it.loop(tools_in_prompt="hermes", **options).run(messages)
        bodies = [request.body for request in it.server.requests]
    assert_valid(trajectory)
    return trajectory, bodies


async def test_tools_calls_and_results_are_told_in_text() -> None:
    trajectory, (first, second) = await asked([reply(f"So.\n{GOOD}"), reply("5")])
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert "tools" not in first
    system, question = first["messages"]
    assert question == QUESTION[0]
    assert system["content"] == tools_text(get_parser("hermes"), [add.definition()])
    assert f"<tools>\n{json.dumps(add.definition())}\n</tools>" in system["content"]
    assert second["messages"] == [
        system,
        question,
        {"role": "assistant", "content": f"So.\n{GOOD}"},  # as it was written, to the letter
        {"role": "user", "content": "<tool_response>\n5\n</tool_response>"},
    ]
    roles = [message["role"] for message in trajectory.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]  # the record is OpenAI's format as ever


async def test_prompts_extend_what_was_sampled_in_chat_mode() -> None:
    trajectory, _ = await asked([reply(GOOD + GOOD), reply(GOOD), reply("5")])
    assert [turn.prompt_fit for turn in trajectory.turns[1:]] == [PromptFit.EXTENDED] * 2
    assert len(trajectory.sequences) == 1


async def test_tools_stand_behind_a_system_message_of_the_prompts_own() -> None:
    _, (first,) = await asked([reply("5")], [SYSTEM, *QUESTION])
    system, question = first["messages"]
    assert system["content"].startswith("Be brief.\n\n# Tools")
    assert question == QUESTION[0]


async def test_results_and_the_words_behind_them_are_one_user_message() -> None:
    _, (_, second) = await asked([reply(GOOD + GOOD + BAD), reply("5")])
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "user"]
    told = second["messages"][-1]["content"]
    result = "<tool_response>\n5\n</tool_response>"
    assert told.startswith(f"{result}\n{result}\n\nYour reply held a tool call that could not be read")


async def test_calls_in_the_prompt_are_written_in_the_format_too() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1}}}
    shot = [
        *QUESTION,
        {"role": "assistant", "content": "Adding.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "user", "content": "And now?"},
    ]
    _, (first,) = await asked([reply("5")], shot)
    assert first["messages"][2:] == [
        {
            "role": "assistant",
            "content": 'Adding.\n<tool_call>\n{"name": "add", "arguments": {"a":1,"b":1}}\n</tool_call>',
        },
        {"role": "user", "content": "<tool_response>\n2\n</tool_response>\n\nAnd now?"},
    ]


async def test_a_template_without_a_system_role_has_the_tools_in_the_first_message() -> None:
    def answer(request: ScriptedRequest) -> Any:
        if request.body["messages"][0]["role"] == "system":
            return error(400, "System role not supported")
        return reply("5")

    async with bench(answer) as it:
        for _ in range(2):
            trajectory = await it.loop(tools_in_prompt="hermes").run(QUESTION)
            assert trajectory.stop_reason is StopReason.COMPLETED
        bodies = [request.body for request in it.server.requests]
    assert len(bodies) == 3  # found out once for a client
    (message,) = bodies[-1]["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("# Tools")
    assert message["content"].endswith(f"\n\n{QUESTION[0]['content']}")


@pytest.mark.parametrize("family", ["gemma", "no_tools"])
async def test_in_token_mode_the_prompts_ids_extend_the_sampled_ones(family: str, tmp_path: Path) -> None:
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chosen = GEMMA if family == "gemma" else replace(CHATML, template=template)
    folder = write_folder(chosen, tmp_path / family)
    assert folder_shows_tools(folder) is False
    tokenizer = FolderTokenizer(folder)
    end = chosen.stops[0]
    replies = [f"So. {GOOD}{end}", f"{GOOD}{end}", f"It is 5.{end}"]
    async with ScriptedServer(TokenScript(replies, tokenizer)) as server:
        async with TokenClient(server.url, "m", folder, endpoint="generate") as client:
            assert await client.shows_tools() is False
            with ToolPool(2) as pool:
                loop = AgentLoop(client, tools=[add], pool=pool, tools_in_prompt="hermes")
                trajectory = await loop.run(QUESTION)
    assert_valid(trajectory)
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert [turn.prompt_fit for turn in trajectory.turns[1:]] == [PromptFit.EXTENDED] * 2
    (sequence,) = trajectory.sequences
    pairs = list(zip(sequence.token_ids, sequence.loss_mask, strict=True))
    sampled = [token for turn in trajectory.turns for token in turn.token_ids or []]
    assert [token for token, mask in pairs if mask] == sampled
    masked = tokenizer.decode([token for token, mask in pairs if not mask])
    assert masked.count("<tool_response>\n5\n</tool_response>") == 2
    assert masked.count("# Tools") == 1


@pytest.mark.parametrize("name", list_parsers())
def test_the_shape_that_a_format_shows_is_one_that_it_reads(name: str) -> None:
    parser = get_parser(name)
    text = tools_text(parser, [add.definition()])
    assert '"name": "add"' in text
    if name != "hermes":
        shown = text.partition("values:\n")[2]
        assert [call.name for call in parser.parse(shown).tool_calls] == ["FUNCTION_NAME"]


async def test_the_formats_parser_reads_the_calls_whatever_tool_parser_is() -> None:
    call = (
        get_parser("mistral")
        .format.example.replace("get_weather", "add")
        .replace('{"city": "Oslo"}', '{"a": 2, "b": 3}')
    )
    async with bench([reply(call), reply("5")]) as it:
        trajectory = await it.loop(tools_in_prompt="mistral", tool_parser="hermes").run(QUESTION)
        body = it.server.requests[1].body
    assert trajectory.turns[0].parsed_by == "mistral"
    assert body["skip_special_tokens"] is False
    assert body["messages"][-1] == {"role": "user", "content": "[TOOL_RESULTS]5[/TOOL_RESULTS]"}


def test_a_format_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="unknown tool-call format 'hermess'"):
        AgentLoop(None, tools_in_prompt="hermess")  # type: ignore[arg-type]


class Telling(ScriptedServer):
    """A server that says what it makes of a conversation, by one of its endpoints."""

    def __init__(self, path: str, *, drops: bool) -> None:
        super().__init__(self._said)
        self.path, self.drops = path, drops

    def _said(self, request: ScriptedRequest) -> Any:
        if request.path != self.path:
            return error(404, "Not Found")
        tools = 0 if self.drops else len(request.body.get("tools", []))
        return {"tokens": [1, 2, 3, *[4] * tools], "prompt": "Hello." + "x" * tools}

    async def _get(self, request: web.Request) -> web.StreamResponse:
        known = {"/tokenize": "/version", "/apply-template": "/props", "/props": "/props"}
        if request.path != known[self.path]:
            return web.json_response({}, status=404)
        template = "{{ messages }}" if self.drops else "{{ tools }}"
        return web.json_response({"version": "1", "chat_template": template})


@pytest.mark.parametrize("path", ["/tokenize", "/apply-template"])
@pytest.mark.parametrize("drops", [True, False])
async def test_a_server_is_asked_whether_its_template_shows_tools(path: str, drops: bool) -> None:
    async with Telling(path, drops=drops) as server:
        async with ChatClient(server.url, "scripted") as client:
            assert await client.shows_tools() is not drops


@pytest.mark.parametrize(("drops", "shown"), [(True, False), (False, None)])
async def test_a_template_that_never_speaks_of_tools_has_no_place_for_them(drops: bool, shown: Any) -> None:
    async with Telling("/props", drops=drops) as server:
        async with ChatClient(server.url, "scripted") as client:
            assert await client.shows_tools() is shown


async def test_of_a_server_that_does_not_tell_nothing_is_said_or_asked() -> None:
    async with ScriptedServer() as server:
        async with ChatClient(server.url, "scripted") as client:
            assert await client.shows_tools() is None
        assert server.requests == []


@pytest.mark.parametrize("options", [{}, {"tools_in_prompt": "hermes"}])
async def test_a_run_says_at_its_start_that_the_model_will_see_no_tools(options: Any, tmp_path: Path) -> None:
    class Policy(Telling):
        def _said(self, request: ScriptedRequest) -> Any:
            chat = request.path.endswith("/chat/completions")
            return reply("It is 5.") if chat else super()._said(request)

    printed = io.StringIO()
    async with Policy("/tokenize", drops=True) as server:
        config = EvalConfig(
            environment="calculator",
            tasks=1,
            workers=0,
            model={"base_url": server.url},
            out=str(tmp_path / "run"),
            **options,
        )
        await evaluate_async(config, console=Console(file=printed, width=200))
    line = "the chat template of scripted leaves out tools: the model will see none of them; set"
    assert (line in printed.getvalue()) is not bool(options)
    assert (line in (tmp_path / "run" / "log.txt").read_text()) is not bool(options)
