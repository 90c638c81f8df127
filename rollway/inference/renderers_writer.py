"""Prompts by the `renderers` package, an optional extra: hand-written renderers of the models that it knows.

The invariant is `PromptWriter`'s: where the request has a prefix, the prompt begins with those very ids,
unless it is said to be rendered anew. What the package gives is checked against it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rollway.errors import UserError, nearest
from rollway.inference.chat_template import TemplateFailure, normal_message, normal_tool
from rollway.inference.folder_tokenizer import FolderTokenizer
from rollway.inference.model_folder import special_token_texts, tokenizer_settings
from rollway.inference.prompt_writer import END_SHOWN, OnMismatch, Prompt
from rollway.inference.protocol import CompletionRequest, PromptPrefix
from rollway.inference.template_probe import TemplateReport, TemplateVerdict

if TYPE_CHECKING:
    from renderers import Renderer

_log = logging.getLogger(__name__)

_FAULTS = (TypeError, ValueError, LookupError, AssertionError, NotImplementedError)
"""What renderers raise on a vocabulary, variables or messages that are not theirs."""


class RendererWriter:
    """Writes the prompts of one model.

    Args:
        folder: the model's own folder. Of it only the tokenizer is read, no template.
        name: a renderer (``qwen3``), or a model as its hub names it (``Qwen/Qwen3-8B``).
        on_mismatch: "keep" goes on from the sampled ids wherever the renderer can; "rerender" does so where
            the model's template keeps earlier thoughts.
        variables: the template's, in every prompt.

    Raises:
        UserError: the package is not installed, does not know the model, or its renderer does not fit the
            folder's tokenizer or the variables.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        *,
        on_mismatch: OnMismatch = "keep",
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.name = name
        self.tokenizer = FolderTokenizer(folder)
        self._kind = _known(name)
        self._adapter = _TokenizerAdapter(self.folder, name, self.tokenizer)
        self._on_mismatch = on_mismatch
        self._variables = dict(variables or {})
        self._made: dict[bytes, Renderer] = {}
        try:
            stable = self._renderer(self._variables).is_prefix_stable
        except Exception as error:  # gpt-oss raises Harmony's own, where its vocabulary cannot be downloaded
            said = " ".join(str(error).split())
            raise UserError(f"the renderer {name!r} does not fit {folder}: {said}") from None
        finding = f"the renderer {name!r} rewrites earlier messages when more follow"
        self.report = (
            TemplateReport(TemplateVerdict.EXTENDS, [])
            if stable
            else TemplateReport(TemplateVerdict.REWRITES, [finding])
        )
        _log.info("the prompts of %s: %s (on_mismatch=%r)", self.folder, self.report.line, on_mismatch)

    def write(self, request: CompletionRequest, stops: frozenset[int]) -> Prompt:
        """The prompt of a request. ``stops`` are of no account: the renderer knows its model's own.

        Raises:
            TemplateFailure: the renderer refuses the conversation.
            ValueError: the prefix stands for more messages than there are.
        """
        prefix = request.prefix
        if prefix is not None and not 0 < prefix.messages <= len(request.messages):
            raise ValueError(
                f"the prefix covers {prefix.messages} messages, but the request has {len(request.messages)}"
            )
        messages: Any = [normal_message(message) for message in request.messages]
        tools: Any = [normal_tool(tool) for tool in request.tools] or None
        try:
            renderer = self._renderer(
                self._variables | request.sampling.extra.get("chat_template_kwargs", {})
            )
            prompt = None if prefix is None else self._bridged(renderer, prefix, messages, tools)
            if prompt is not None:
                return prompt
            ids = renderer.render_ids(messages, tools=tools, add_generation_prompt=True)
        except _FAULTS as error:
            raise TemplateFailure(str(error) or type(error).__name__) from error
        return Prompt(list(ids), self._end(ids), rerendered=prefix is not None)

    def _bridged(self, renderer: Renderer, prefix: PromptPrefix, messages: Any, tools: Any) -> Prompt | None:
        """The prompt that goes on from the sampled ids; None where the renderer cannot tell it."""
        at = len(prefix.token_ids) - prefix.sampled
        bridge = renderer.bridge_to_next_turn(
            prefix.token_ids[:at], prefix.token_ids[at:], messages[prefix.messages :], tools=tools
        )
        if bridge is None:
            return None
        ids = list(bridge.token_ids)
        if ids[: len(prefix.token_ids)] != prefix.token_ids:
            return None  # it took sampled ids off: those behind an end token in the middle of a reply
        return Prompt(ids, self._end(ids))

    def _end(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids[-END_SHOWN:])[-END_SHOWN:]

    def _renderer(self, variables: Mapping[str, Any]) -> Renderer:
        """The renderer with these variables, made once."""
        key = msgspec.json.encode(variables, order="sorted")
        if key not in self._made:
            from renderers import config_from_name, create_renderer

            plain = config_from_name(self._kind)
            assert plain is not None, "_known lets no other name pass"
            config = type(plain)(thinking_retention="all") if self._on_mismatch == "keep" else plain
            self._made[key] = create_renderer(self._adapter, config, chat_template_kwargs=variables)
        return self._made[key]


def _known(name: str) -> str:
    """The renderer of that name, or of the model of that name.

    Raises:
        UserError: there is none, or the package is not installed.
    """
    try:
        from renderers.base import MODEL_RENDERER_MAP
    except ModuleNotFoundError as error:
        raise UserError(
            f"renderer {name!r} needs the package {error.name}; pip install 'rollway[renderers]', or leave "
            "renderer at 'template'"
        ) from None
    kinds = sorted(set(MODEL_RENDERER_MAP.values()))
    kind: str = MODEL_RENDERER_MAP.get(name, name)
    if kind not in kinds:
        near = nearest(name, [*kinds, *MODEL_RENDERER_MAP])
        raise UserError(
            f"the renderers package knows no {name!r}{near}; give 'template', the hub name of a model that "
            f"it knows, or one of {', '.join(kinds)}"
        )
    return kind


class _TokenizerAdapter:
    """`FolderTokenizer` with the methods that renderers call, as transformers names them."""

    unk_token_id: int | None = None

    def __init__(self, folder: Path, name: str, tokenizer: FolderTokenizer) -> None:
        self.name_or_path = name
        self._tokenizer = tokenizer
        end = special_token_texts(tokenizer_settings(folder)).get("eos_token")
        self.eos_token_id = None if end is None else tokenizer.id_of(end)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self._tokenizer.encode(text)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        special = self._tokenizer.special_ids if skip_special_tokens else frozenset()
        return self._tokenizer.decode([token for token in token_ids if token not in special])

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int | None] | None:
        if isinstance(tokens, str):
            return self._tokenizer.id_of(tokens)
        return [self._tokenizer.id_of(token) for token in tokens]
