"""From a request to the ids of its prompt, with a model folder's template and tokenizer.

The invariant: where the request has a prefix, the prompt begins with those very ids (but for a stop token
that opens another message than the one that follows), unless it is said to be rendered anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from rollway.inference.chat_template import ChatTemplate, TemplateFailure
from rollway.inference.continuation import NotExtendable, StopFate, continue_prompt
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.protocol import CompletionRequest
from rollway.inference.template_probe import TemplateReport, TemplateVerdict, probe_template
from rollway.trajectory import Message

OnMismatch = Literal["keep", "rerender"]
"""What to do where the template would write earlier messages otherwise once more follow: ``keep`` the model's
own tokens all the same, or ``rerender`` the conversation, which begins a new sequence."""

END_SHOWN = 200  # characters of a prompt that are enough to see whether it opens a thought
_log = logging.getLogger(__name__)


class Prompt(msgspec.Struct, frozen=True):
    """What is sent, and how it was made."""

    token_ids: list[int]
    end: str  # its last characters
    dropped_stop: bool = False  # the prefix's last id is left out
    rerendered: bool = False  # it does not build on the prefix


class Writer(Protocol):
    """Whatever writes the prompts of one model."""

    folder: Path
    tokenizer: FolderTokenizer
    report: TemplateReport

    def write(self, request: CompletionRequest, stops: frozenset[int]) -> Prompt: ...


class PromptWriter:
    """Writes the prompts of one model by the template in its folder.

    Args:
        folder: the model's own folder.
        variables: for the template, in every prompt (``enable_thinking`` and the like).

    Raises:
        UserError: the folder lacks a template or a tokenizer, or one of them cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        on_mismatch: OnMismatch = "keep",
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.template = ChatTemplate(folder)
        self.tokenizer = FolderTokenizer(folder)
        self._on_mismatch = on_mismatch
        self._variables = dict(variables or {})
        self.report: TemplateReport = probe_template(self.template, self.tokenizer, self._variables)
        self._told = False
        self._tell(on_mismatch)

    def write(self, request: CompletionRequest, stops: frozenset[int]) -> Prompt:
        """The prompt of a request; ``stops`` are the ids that end a reply.

        Raises:
            TemplateFailure: the template refuses the conversation.
            ValueError: the prefix stands for more messages than there are.
        """
        conversation = _Conversation(
            messages=_with_short_ids(request.messages) if self.report.short_ids else request.messages,
            tools=request.tools,
            variables=self._variables | request.sampling.extra.get("chat_template_kwargs", {}),
        )
        prefix = request.prefix
        if prefix is None:
            return self._rendered(conversation, rerendered=False)
        if not 0 < prefix.messages <= len(request.messages):
            raise ValueError(
                f"the prefix covers {prefix.messages} messages, but the request has {len(request.messages)}"
            )
        if self._on_mismatch == "rerender" and not self._extends(conversation, prefix.messages):
            return self._rendered(conversation, rerendered=True)
        last = prefix.token_ids[-1] if prefix.sampled else None
        try:
            continuation = continue_prompt(
                self.template,
                self.tokenizer,
                stop=last if last in stops else None,
                reply=conversation.messages[prefix.messages - 1],
                new=conversation.messages[prefix.messages :],
                tools=conversation.tools,
                variables=conversation.variables,
            )
        except NotExtendable as error:
            self._tell_once(error)
            return self._rendered(conversation, rerendered=True)
        dropped = continuation.stop is StopFate.DROPPED
        kept = prefix.token_ids[:-1] if dropped else prefix.token_ids
        return Prompt(kept + continuation.token_ids, continuation.text[-END_SHOWN:], dropped_stop=dropped)

    def _rendered(self, conversation: _Conversation, *, rerendered: bool) -> Prompt:
        text = self.template.render(conversation.messages, conversation.tools, **conversation.variables)
        return Prompt(self.tokenizer.encode(text), text[-END_SHOWN:], rerendered=rerendered)

    def _extends(self, conversation: _Conversation, covered: int) -> bool:
        """Whether the template writes the first ``covered`` messages alike with and without those after."""
        try:
            before = self.template.render(
                conversation.messages[:covered],
                conversation.tools,
                add_generation_prompt=False,
                **conversation.variables,
            )
        except TemplateFailure:
            return False
        whole = self.template.render(conversation.messages, conversation.tools, **conversation.variables)
        return whole.startswith(before)

    def _tell(self, on_mismatch: OnMismatch) -> None:
        report = self.report
        policy = {
            "keep": "prompts keep the model's own tokens (on_mismatch='keep')",
            "rerender": "such prompts are rendered again and start a new sequence (on_mismatch='rerender')",
        }[on_mismatch]
        if report.verdict in (TemplateVerdict.EXTENDS, TemplateVerdict.MERGES):
            _log.info("the chat template of %s: %s", self.folder, report.line)
        else:
            _log.warning("the chat template of %s: %s; %s", self.folder, report.line, policy)

    def _tell_once(self, error: NotExtendable) -> None:
        if not self._told:
            self._told = True
            _log.warning("%s; such prompts are rendered again and start a new sequence (logged once)", error)


class _Conversation(msgspec.Struct, frozen=True):
    """What a template is given."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]]
    variables: dict[str, Any]


def _with_short_ids(messages: Sequence[Message]) -> list[Message]:
    """The messages with call ids of nine letters or digits, the only ones that Mistral's templates take."""
    return [_with_short_id(message) for message in messages]


def _with_short_id(message: Message) -> Message:
    if message.get("tool_call_id"):
        return {**message, "tool_call_id": short_id(message["tool_call_id"])}
    if message.get("tool_calls"):
        calls = [{**call, "id": short_id(call["id"])} for call in message["tool_calls"]]
        return {**message, "tool_calls": calls}
    return message


def short_id(identity: str) -> str:
    """Nine letters or digits that stand for a call's id: itself, where it is of that form."""
    if len(identity) == 9 and identity.isascii() and identity.isalnum():
        return identity
    return hashlib.sha256(identity.encode()).hexdigest()[:9]
