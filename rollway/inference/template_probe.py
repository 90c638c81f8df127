"""Whether a chat template writes a longer conversation as the shorter one and something more.

Found out once, by rendering synthetic conversations: with calls and results, with thoughts, with white space
around a reply. What is found is told to the user in one line; it changes no token by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from rollway.inference.chat_template import ChatTemplate, TemplateFailure
from rollway.inference.continuation import NotExtendable, common_length, continue_prompt, split_at_end
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.tools_seen import template_shows_tools
from rollway.trajectory import Message


class TemplateVerdict(StrEnum):
    """What a template does to earlier messages, the worst of what was found; from good to bad."""

    EXTENDS = "extends"  # nothing
    MERGES = "merges"  # a reply that begins with white space merges with the tokens before it
    TRIMS = "trims"  # white space around a reply is taken off
    OTHER_END = "other_end"  # the last reply ends otherwise than an earlier one
    STRIPS_REASONING = "strips_reasoning"  # a thought is left out, at once or once more messages follow
    REWRITES = "rewrites"  # something else is left out, moved or written otherwise
    REFUSES = "refuses"  # it takes no tool results


class TemplateReport(msgspec.Struct, frozen=True):
    """What the probe found."""

    verdict: TemplateVerdict
    findings: list[str]  # for people, the worst first; empty for EXTENDS
    shows_tools: bool = True  # it writes the tools of a request into the prompt
    short_ids: bool = False  # it takes call ids of nine letters or digits only

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.verdict.value} ({'; '.join(self.findings)})" if self.findings else self.verdict.value


class _Finding(msgspec.Struct, frozen=True):
    verdict: TemplateVerdict
    text: str


_THOUGHT = "Two and three make five."
_TEXT = "Let me add them."
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    }
]
_LEAD = 60  # characters that an empty thought, or the opening of one, may have
_ORDER = list(TemplateVerdict)


def probe_template(
    template: ChatTemplate, tokenizer: FolderTokenizer, variables: Mapping[str, Any] | None = None
) -> TemplateReport:
    """Render synthetic conversations and compare. ``variables`` are those of the real prompts."""
    probe = _Probe(template, tokenizer, variables or {})
    short_ids = not probe.takes(_dialogue()) and probe.takes(_dialogue(identity="addcall01"))
    probe.identity = "addcall01" if short_ids else "call_0_0"
    findings = [finding for finding in probe.findings() if finding is not None]
    findings.sort(key=lambda finding: -_ORDER.index(finding.verdict))
    verdict = findings[0].verdict if findings else TemplateVerdict.EXTENDS
    texts = [finding.text for finding in findings]
    shows_tools = template_shows_tools(template, variables)
    return TemplateReport(verdict, texts, shows_tools=shows_tools, short_ids=short_ids)


def _dialogue(
    *, identity: str = "call_0_0", text: str = "", final: str = "It is 5.", thought: str | None = None
) -> list[Message]:
    """A question, a call, its result, an answer, and a question more."""
    function = {"name": "add", "arguments": '{"a": 2, "b": 3}'}
    called: Message = {"role": "assistant", "content": text}
    called["tool_calls"] = [{"id": identity, "type": "function", "function": function}]
    answered: Message = {"role": "assistant", "content": final}
    if thought is not None:
        called["reasoning_content"] = answered["reasoning_content"] = thought
    return [
        {"role": "user", "content": "What is 2 + 3?"},
        called,
        {"role": "tool", "tool_call_id": identity, "name": "add", "content": "5"},
        answered,
        {"role": "user", "content": "And 3 + 4?"},
    ]


def _talk(reply: str, thought: str | None = None) -> list[Message]:
    """A question, an answer, and a question more."""
    answered: Message = {"role": "assistant", "content": reply}
    if thought is not None:
        answered["reasoning_content"] = thought
    return [
        {"role": "user", "content": "What is 2 + 3?"},
        answered,
        {"role": "user", "content": "And 3 + 4?"},
    ]


class _Probe:
    """The checks, each of which gives what it found or nothing."""

    def __init__(
        self, template: ChatTemplate, tokenizer: FolderTokenizer, variables: Mapping[str, Any]
    ) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._variables = variables
        self.identity = "call_0_0"

    def findings(self) -> list[_Finding | None]:
        tools = self.takes(_dialogue(identity=self.identity))
        checks = [self._plain, self._text_beside_calls, self._thought, self._white_space, self._merging]
        return [
            None if tools else _Finding(TemplateVerdict.REFUSES, "it rejects tool results"),
            *(self._checked(check, tools) for check in checks),
            *self._continuations(tools),
        ]

    def _checked(self, check: Callable[[bool], _Finding | None], tools: bool) -> _Finding | None:
        try:
            return check(tools)
        except TemplateFailure as error:
            return _Finding(TemplateVerdict.REFUSES, f"it rejects a short conversation: {error}")

    def takes(self, messages: Sequence[Message]) -> bool:
        """Whether the template renders these messages at all."""
        try:
            self._render(messages, generate=True)
        except TemplateFailure:
            return False
        return True

    def _plain(self, tools: bool) -> _Finding | None:
        return self._departure(_dialogue(identity=self.identity) if tools else _talk("It is 5."))

    def _text_beside_calls(self, tools: bool) -> _Finding | None:
        if not tools or self._writes_text_beside_calls():
            return None
        return _Finding(TemplateVerdict.REWRITES, "it drops the text beside a call")

    def _writes_text_beside_calls(self) -> bool:
        messages = _dialogue(identity=self.identity, text=_TEXT)[:2]
        return _TEXT in self._render(messages, generate=False)

    def _thought(self, tools: bool) -> _Finding | None:
        asked = _talk("It is 5.", _THOUGHT)[:2]
        thought: str | None = _THOUGHT
        wrap = ""
        if _THOUGHT not in self._render(asked, generate=False):  # no field of its own: it stands in the text
            thought, wrap = None, f"<think>\n{_THOUGHT}\n</think>\n\n"
        messages = _talk(wrap + "It is 5.", thought)
        if tools and (not wrap or self._writes_text_beside_calls()):
            messages = _dialogue(identity=self.identity, text=wrap, final=wrap + "It is 5.", thought=thought)
        where = self._loses_thought(messages)
        if where is None:
            return None
        return _Finding(TemplateVerdict.STRIPS_REASONING, f"it drops reasoning {where}")

    def _white_space(self, tools: bool) -> _Finding | None:
        reply = "\n It is 5. \n"
        if reply in self._render(_talk(reply), generate=True):
            return None
        return _Finding(TemplateVerdict.TRIMS, "it strips whitespace around a reply")

    def _merging(self, tools: bool) -> _Finding | None:
        messages = _talk("\n\nIt is 5.")
        opened, whole = self._render(messages[:1], generate=True), self._render(messages[:2], generate=False)
        ids = self._tokenizer.encode(opened)
        if not whole.startswith(opened + "\n") or self._tokenizer.encode(whole)[: len(ids)] == ids:
            return None  # where the text itself is another, that is what is told
        return _Finding(
            TemplateVerdict.MERGES, "whitespace at the start of a reply merges with the token before it"
        )

    def _continuations(self, tools: bool) -> list[_Finding]:
        """Whether the tokens of what is new can be told, for each kind of message that may follow."""
        found = []
        for messages in (_talk("It is 5."), _dialogue(identity=self.identity)[:3] if tools else None):
            if messages is None:
                continue
            try:
                continue_prompt(
                    self._template,
                    self._tokenizer,
                    stop=None,
                    reply=messages[1],
                    new=messages[2:],
                    tools=_TOOLS,
                    variables=self._variables,
                )
            except NotExtendable as error:
                found.append(_Finding(TemplateVerdict.REWRITES, str(error)))
        return found

    def _render(self, messages: Sequence[Message], *, generate: bool) -> str:
        return self._template.render(messages, _TOOLS, add_generation_prompt=generate, **self._variables)

    def _departure(self, messages: Sequence[Message]) -> _Finding | None:
        """The first place where a longer rendering does not begin with the shorter one, and in what."""
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            opened = self._render(messages[:at], generate=True)
            whole = self._render(messages[: at + 1], generate=False)
            if not whole.startswith(opened):
                return self._judge(opened, whole, opened, "at once")
            for end in range(at + 2, len(messages) + 1):
                last = messages[end - 1]["role"]
                longer = self._render(messages[:end], generate=last != "assistant")
                if not longer.startswith(whole):
                    return self._judge(whole, longer, opened, f"after a {_NAMES[last]}")
        return None

    def _judge(self, shorter: str, longer: str, opened: str, where: str) -> _Finding:
        """What a departure is: of the place where a thought stands, of the end token, or of anything."""
        body = shorter[len(opened) :]
        if shorter == opened and len(opened) - common_length(opened, longer) <= _LEAD:
            return _Finding(TemplateVerdict.STRIPS_REASONING, f"it drops the opening of a reply {where}")
        if any(longer.startswith(opened + body[skipped:]) for skipped in range(1, min(len(body), _LEAD))):
            return _Finding(TemplateVerdict.STRIPS_REASONING, f"it drops empty reasoning {where}")
        try:
            split_at_end(shorter, longer, self._tokenizer)
        except NotExtendable:
            return _Finding(TemplateVerdict.REWRITES, f"it rewrites a reply {where}")
        return _Finding(TemplateVerdict.OTHER_END, f"it ends a reply with a different token {where}")

    def _loses_thought(self, messages: Sequence[Message]) -> str | None:
        """Where a thought is no longer in the rendering: "at once", "after a user message"."""
        for end in range(2, len(messages) + 1):
            written = sum(message["role"] == "assistant" for message in messages[:end])
            last = messages[end - 1]["role"]
            text = self._render(messages[:end], generate=last != "assistant")
            if text.count(_THOUGHT) < written:
                return "at once" if last == "assistant" else f"after a {_NAMES[last]}"
        return None


_NAMES = {"user": "user message", "tool": "tool result", "assistant": "later reply"}
