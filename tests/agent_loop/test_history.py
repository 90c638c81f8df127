"""What goes back to a server: its own fields to the letter, and the engine's words where they are taken."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from loop_bench import QUESTION, add, assert_valid, bench, kinds
from scripted_server import ScriptedRequest, ScriptedServer, error, reply
from template_families import CHATML, write_folder
from token_script import TokenScript

from rollway.agent_loop import AgentLoop
from rollway.agent_loop.shown import NOT_THE_TOOLS
from rollway.branching import branch
from rollway.errors import UserError
from rollway.inference import ChatClient, TokenClient
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.tools import Tool, ToolPool
from rollway.trajectory import ENGINE_NAME, StopReason, ToolErrorKind

GOOD = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call>'
BAD = '<tool_call>{"name": "add", "arguments": {</tool_call>'
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}


def message_of(body: dict[str, Any]) -> dict[str, Any]:
    return body["choices"][0]["message"]


def said(call: dict[str, Any] = CALL, **fields: Any) -> dict[str, Any]:
    """A reply with a call, and what a server adds to its message."""
    body = reply(tool_calls=[call])
    message_of(body).update(fields)
    return body


async def second_request(first: dict[str, Any], **client: Any) -> dict[str, Any]:
    """The assistant's message as it goes back."""
    async with ScriptedServer([first, reply("5", prompt_token_ids=None)]) as server:
        async with ChatClient(server.url, "scripted", **client) as chat:
            with ToolPool(1) as pool:
                trajectory = await AgentLoop(chat, tools=[add], pool=pool).run(QUESTION)
    assert_valid(trajectory)
    assert trajectory.stop_reason is StopReason.COMPLETED
    message: dict[str, Any] = server.requests[1].body["messages"][1]
    return message


DETAILS = [{"type": "reasoning.encrypted", "data": "q83v", "id": "r1", "format": "x", "index": 0}]
BLOCKS = [
    {"type": "thinking", "thinking": "Add.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "8"},
]


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": ""},
        {"reasoning": ""},
        {"reasoning": "Add them."},
        {"reasoning_content": "Add them.", "reasoning": "Add them."},
        {"reasoning": "Add.", "reasoning_details": DETAILS},
        {"reasoning_details": DETAILS},
        {"reasoning_content": "Add.", "thinking_blocks": BLOCKS},
        {"provider_specific_fields": {"trace": {"b": 1, "a": [1.0, None]}}},
    ],
)
async def test_what_a_server_adds_to_its_message_goes_back_to_the_letter(fields: dict[str, Any]) -> None:
    message = await second_request(said(**fields))
    beside = {name: value for name, value in message.items() if name not in ("role", "content", "tool_calls")}
    assert beside == fields
    assert message["tool_calls"] == [CALL]


async def test_what_a_server_adds_to_a_call_goes_back_with_it_under_its_new_id() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}, "index": 0}
    signed["function"] = {**CALL["function"], "signature": "x"}
    async with bench([said(signed), said(signed), reply("5")]) as it:
        trajectory = await it.loop().run(QUESTION)
        messages = it.server.requests[2].body["messages"]
    assert_valid(trajectory)
    assert messages[1]["tool_calls"] == [signed]
    assert messages[3]["tool_calls"] == [{**signed, "id": "c1_2"}]


async def test_what_says_nothing_does_not_go_back() -> None:
    nothing = {"refusal": None, "annotations": [], "audio": None, "reasoning": None, "function_call": None}
    message = await second_request(said(**nothing))
    assert message.keys() == {"role", "content", "tool_calls"}


async def test_content_parts_that_are_more_than_text_go_back_as_they_came() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Add."}], "closed": True},
        {"type": "text", "text": "I add."},
    ]
    message = await second_request(said(content=parts))
    assert message["content"] == parts
    assert "reasoning_content" not in message


@pytest.mark.parametrize(
    ("option", "sent"),
    [
        ("reasoning_content", {"reasoning_content": "Add."}),
        ("reasoning", {"reasoning": "Add."}),
        ("none", {}),
    ],
)
async def test_the_name_of_a_thought_can_be_chosen_over_the_servers_own(option: Any, sent: Any) -> None:
    fields = {"reasoning": "Add.", "reasoning_details": DETAILS}
    message = await second_request(said(**fields), history_reasoning=option)
    assert dict.fromkeys(sent, "Add.") | {"reasoning_details": DETAILS} == {
        name: value for name, value in message.items() if name.startswith("reasoning")
    }


async def test_a_thought_that_a_server_demands_of_every_reply_is_an_empty_one_where_there_is_none() -> None:
    def demanding(request: ScriptedRequest) -> Any:
        history = request.body["messages"]
        if any(m["role"] == "assistant" and "reasoning_content" not in m for m in history):
            return error(400, "The `reasoning_content` in the thinking mode must be passed back to the API.")
        return said() if len(history) < 6 else reply("5")

    async with bench(demanding) as it:
        trajectory = await it.loop().run(QUESTION)
    assert trajectory.stop_reason is StopReason.COMPLETED
    assert len(it.server.requests) == 5  # it was refused once
    assert [message.get("reasoning_content") for message in trajectory.messages] == [None] * 8


async def test_a_servers_fields_go_to_no_other_server() -> None:
    async with ScriptedServer([said(thinking_blocks=BLOCKS), reply("5")]) as first:
        async with ChatClient(first.url, "scripted") as chat:
            with ToolPool(1) as pool:
                parent = await AgentLoop(chat, tools=[add], pool=pool).run(QUESTION)
    assert parent.turns[0].server_fields is not None
    assert "thinking_blocks" not in parent.messages[1]
    child = branch(parent, 1)
    async with ScriptedServer([reply("5")]) as other:
        async with ChatClient(other.url, "scripted") as chat:
            with ToolPool(1) as pool:
                await AgentLoop(chat, tools=[add], pool=pool).run(child.messages, trajectory=child)
    assert "thinking_blocks" not in other.requests[0].body["messages"][1]


def refusing_user_after_tool(*replies: dict[str, Any]) -> Any:
    left = list(replies)

    def answer(request: ScriptedRequest) -> Any:
        roles = [message["role"] for message in request.body["messages"]]
        if any(pair == ("tool", "user") for pair in pairwise(roles)):
            return error(400, "Unexpected role 'user' after role 'tool'")
        return left.pop(0)

    return answer


async def test_a_repair_request_moves_under_the_results_where_the_template_refuses_it_behind_them() -> None:
    async with bench(
        refusing_user_after_tool(reply(GOOD + BAD), reply("5"), reply(GOOD + BAD), reply("5"))
    ) as it:
        first = await it.loop().run(QUESTION)
        asked = len(it.server.requests)
        second = await it.loop().run(QUESTION)
        told = it.server.requests[asked - 1].body["messages"][-1]
    assert (asked, len(it.server.requests)) == (
        3,
        5,
    )  # learned once for a client
    assert told["role"] == "tool"
    assert told["content"].startswith(f"5\n\n{NOT_THE_TOOLS}\nYour reply held a tool call that could not be")
    for trajectory in (first, second):
        assert_valid(trajectory)
        assert trajectory.stop_reason is StopReason.COMPLETED
        assert kinds(trajectory) == [ToolErrorKind.PARSE]
        (insert,) = [message for message in trajectory.messages if message.get("name") == ENGINE_NAME]
        assert (insert["role"], insert["insert_as"]) == ("user", "tool_suffix")
        assert trajectory.turns[0].tool_results[0].content == "5"  # the tool's own words stay its own


@pytest.mark.parametrize(("insert_as", "roles"), [("user", ["tool", "user"]), ("tool_suffix", ["tool"])])
async def test_the_place_of_the_engines_words_can_be_chosen(insert_as: Any, roles: list[str]) -> None:
    async with bench([reply(GOOD + BAD), reply("5")]) as it:
        trajectory = await it.loop(insert_as=insert_as).run(QUESTION)
        messages = it.server.requests[1].body["messages"]
    assert_valid(trajectory)
    assert [message["role"] for message in messages[2:]] == roles
    assert all(
        "name" not in message and "insert_as" not in message
        for message in messages
        if message["role"] == "user"
    )


async def test_a_place_that_was_chosen_is_not_left_for_another() -> None:
    async with bench(refusing_user_after_tool(reply(GOOD + BAD), reply("5"))) as it:
        trajectory = await it.loop(insert_as="user").run(QUESTION)
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    with pytest.raises(UserError, match="insert_as must be one of user, tool_suffix, auto"):
        AgentLoop(it.client, insert_as="system")  # type: ignore[arg-type]


async def test_other_refusals_are_not_asked_again() -> None:
    def answer(request: ScriptedRequest) -> Any:
        return reply(GOOD + BAD) if request.index == 0 else error(400, "top_k must be at least 1")

    async with bench(answer) as it:
        trajectory = await it.loop().run(QUESTION)
    assert trajectory.stop_reason is StopReason.MODEL_ERROR
    assert len(it.server.requests) == 2
    assert not it.client.learned.refuses_user_after_tool


async def test_in_token_mode_the_words_under_a_result_extend_what_was_sampled(tmp_path: Path) -> None:
    refuses = (
        "{%- for message in messages %}{% if not loop.first and message.role == 'user' and "
        "messages[loop.index0 - 1].role == 'tool' %}{{ raise_exception('roles must alternate') }}{% endif %}"
        "{% endfor %}"
    )
    family = replace(CHATML, template=refuses + CHATML.template)
    folder = write_folder(family, tmp_path / "family")
    tokenizer = FolderTokenizer(folder)
    script = TokenScript([f"{GOOD}{BAD}<|im_end|>", "5<|im_end|>"], tokenizer)
    async with ScriptedServer(script) as server:
        async with TokenClient(server.url, "m", folder, endpoint="generate") as client:
            with ToolPool(2) as pool:
                trajectory = await AgentLoop(client, tools=[add], pool=pool).run(QUESTION)
    assert_valid(trajectory)
    assert trajectory.stop_reason is StopReason.COMPLETED
    (sequence,) = trajectory.sequences
    words = tokenizer.decode(
        [i for i, m in zip(sequence.token_ids, sequence.loss_mask, strict=True) if not m]
    )
    assert f"<tool_response>\n5\n\n{NOT_THE_TOOLS}" in words
    trained = [i for i, m in zip(sequence.token_ids, sequence.loss_mask, strict=True) if m]
    assert trained == [token for turn in trajectory.turns for token in turn.token_ids or []]


@pytest.mark.parametrize(
    "behind",
    [[], [{"role": "user", "content": "and?"}], [{"role": "tool", "tool_call_id": "c0", "content": "3"}]],
)
async def test_a_prompt_with_a_call_that_is_not_answered_is_refused_at_the_start(behind: list[Any]) -> None:
    messages = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [CALL]}, *behind]
    async with bench([reply("5")]) as it:
        with pytest.raises(UserError, match="message 1 of the prompt calls add with id 'c1'") as refused:
            await it.loop().run(messages)
        assert it.server.requests == []
    assert "\n" not in str(refused.value)


async def test_a_call_does_not_take_the_id_of_one_in_the_prompt() -> None:
    answered = {"role": "tool", "tool_call_id": "c1", "content": "5"}
    messages = [*QUESTION, {"role": "assistant", "content": "", "tool_calls": [CALL]}, answered, *QUESTION]
    async with bench([said(), reply("5")]) as it:
        trajectory = await it.loop().run(messages)
    assert trajectory.turns[0].tool_calls[0].id == "c1_2"
    assert_valid(trajectory)


async def test_keys_that_only_a_table_has_are_neither_recorded_nor_sent() -> None:
    padded = {"tool_calls": None, "tool_call_id": None, "name": None, "reasoning_content": None}
    call = {**CALL, "function": {**CALL["function"], "strict": None}, "index": None}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "s", "image_url": None}], **padded},
        {"role": "user", "content": "hi", **padded, "name": "bob"},
        {
            "role": "assistant",
            "content": None,
            **padded,
            "tool_calls": [call],
        },
        {"role": "tool", "content": "5", **padded, "tool_call_id": "c1"},
        {"role": "user", "content": "and?", **padded},
    ]
    properties = {"x": {"type": "integer", "enum": None, "default": None}, "y": None}
    schema = {"type": "object", "properties": properties, "required": None}
    f = Tool.from_schema("f", "F.", schema, lambda x: x)
    async with bench([reply("ok")]) as it:
        trajectory = await it.loop(f).run(messages)
        body = it.server.requests[0].body
    assert (
        body["messages"]
        == trajectory.messages[:5]
        == [
            {"role": "system", "content": [{"type": "text", "text": "s"}]},
            {"role": "user", "content": "hi", "name": "bob"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "5", "tool_call_id": "c1"},
            {"role": "user", "content": "and?"},
        ]
    )
    assert body["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"x": {"type": "integer"}},
    }


async def test_a_default_of_null_is_meant_where_nothing_else_is_null() -> None:
    schema = {"type": "object", "properties": {"x": {"type": ["integer", "null"], "default": None}}}
    f = Tool.from_schema("f", "F.", schema, lambda x=None: x)
    async with bench([reply("ok")]) as it:
        await it.loop(f).run(QUESTION)
    assert it.server.requests[0].body["tools"][0]["function"]["parameters"] == schema
