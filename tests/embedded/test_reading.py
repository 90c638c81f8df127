"""A reply taken apart on the server: read in pieces it gives what it gives as a whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollway.embedded.server.reading import GrowingReply, Parts, ReplyReader
from rollway.tool_parsers import get_parser

PIECES = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            '{"name": "add", "arguments": {"a": 1}}',
            '{"name": "add"',
            "\n",
            " ",
            "Well, ",
            "1 < 2",
        ]
    ),
    max_size=12,
)


def reader(
    *, tools: bool = True, thoughts: bool = True, opened: bool = False, parallel: bool = True
) -> ReplyReader:
    return ReplyReader(
        tools=(),
        tool_parser=get_parser("hermes") if tools else None,
        reasoning_format="qwen3" if thoughts else None,
        opened=opened,
        parallel=parallel,
    )


def without_ids(parts: Parts) -> tuple[object, ...]:
    calls = [(call.function.name, call.function.arguments) for call in parts.tool_calls]
    return parts.reasoning, parts.content, calls


@given(PIECES, st.booleans(), st.booleans(), st.booleans())
def test_a_reply_in_pieces_equals_the_reply_at_once(
    pieces: list[str], tools: bool, thoughts: bool, opened: bool
) -> None:
    rules = reader(tools=tools, thoughts=thoughts, opened=opened)
    growing = GrowingReply(rules)
    content = "".join(growing.add(piece) for piece in pieces)
    rest = growing.finish()
    rest.content = (content + (rest.content or "")) or None
    whole = rules.read("".join(pieces))
    whole.content = whole.content or None
    assert without_ids(rest) == without_ids(whole)


def test_thought_content_and_calls_come_apart_to_the_letter() -> None:
    text = '<think>hm\n</think>So: <tool_call>\n{"name": "add", "arguments": {"a":1}}\n</tool_call>'
    parts = reader().read(text)
    assert without_ids(parts) == ("hm\n", "So: ", [("add", '{"a":1}')])
    assert without_ids(reader(tools=False).read(text))[:2] == (
        "hm\n",
        text.removeprefix("<think>hm\n</think>"),
    )
    assert without_ids(reader(tools=False, thoughts=False).read(text)) == (None, text, [])


def test_a_call_inside_a_thought_is_none() -> None:
    text = '<think><tool_call>\n{"name": "add", "arguments": {}}\n</tool_call></think>No.'
    assert reader().read(text).tool_calls == []
    assert reader(thoughts=False).read(text).tool_calls == []


def test_a_call_that_was_cut_off_stays_in_the_content() -> None:
    text = '<tool_call>\n{"name": "add", "arguments": {"a": 1'
    assert without_ids(reader().read(text)) == (None, text, [])


def test_call_ids_are_new_for_every_reply_and_one_call_is_kept_when_only_one_may_be() -> None:
    text = '<tool_call>{"name": "a", "arguments": {}}</tool_call>' * 2
    ids = [call.id for _ in range(2) for call in reader().read(text).tool_calls]
    assert len(set(ids)) == 4
    assert len(reader(parallel=False).read(text).tool_calls) == 1


def test_plain_text_is_given_out_at_once() -> None:
    growing = GrowingReply(reader())
    assert [growing.add(piece) for piece in ("The", " answer", " is 1 <", " 2")] == [
        "The",
        " answer",
        " is 1",
        "",
    ]
    assert growing.finish().content == " < 2"
