"""A model folder's chat template, rendered to the letter as transformers and vLLM render it.

Messages and tools are first brought into the shape in which vLLM hands them to a template, so that the same
request gives the same prompt on either server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rollway.embedded.weights import read_json
from rollway.errors import UserError
from rollway.trajectory import Message


class TemplateFailure(ValueError):
    """The template refuses these messages, or they are no chat messages."""


class ChatTemplate:
    """``chat_template.jinja`` of a folder, or the template inside its ``tokenizer_config.json``.

    Raises:
        UserError: the folder has none, or it is no jinja template.
    """

    def __init__(self, folder: Path) -> None:
        from jinja2 import TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        path, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
        settings = read_json(config) if config.is_file() else {}
        source = path.read_text(encoding="utf-8") if path.is_file() else settings.get("chat_template")
        if not isinstance(source, str):
            raise UserError(f"{folder} has no chat_template.jinja: without it no chat can be served")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise UserError(f"the chat template of {folder} is broken: {error}") from None
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        self._tokens = {name: _token_text(settings[name]) for name in names if settings.get(name)}

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt as text.

        Raises:
            TemplateFailure: the template refuses the messages, or one of them is malformed.
        """
        from jinja2 import TemplateError

        values = self._tokens | {
            "messages": [_normalise_message(message) for message in messages],
            "tools": None if tools is None else [_normalise_tool(tool) for tool in tools],
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._template.render(values | variables)
        except (TemplateError, TypeError, ValueError) as error:
            raise TemplateFailure(str(error)) from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> str:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _token_text(entry: str | Mapping[str, Any]) -> str:
    return entry if isinstance(entry, str) else str(entry["content"])


def _normalise_message(message: Message) -> Message:
    role = message.get("role")
    if not isinstance(role, str):
        raise TemplateFailure("each message needs a role")
    result: Message = {"role": role, "content": _text(message.get("content"))}
    if isinstance(message.get("name"), str):
        result["name"] = message["name"]
    if role == "tool" and "tool_call_id" in message:
        result["tool_call_id"] = message["tool_call_id"]
    if role == "assistant":
        reasoning = message.get("reasoning")
        if reasoning is None:
            reasoning = message.get("reasoning_content")
        if reasoning is not None:
            result["reasoning"] = result["reasoning_content"] = reasoning
        if message.get("tool_calls"):
            result["tool_calls"] = [_normalise_call(call) for call in message["tool_calls"]]
    return result


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TemplateFailure("a message's content must be text or a list of parts")
    return "\n".join(_part_text(part) for part in content)


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise TemplateFailure("the model reads text only: each part of a content must be of type text")
    text: str = part["text"]
    return text


def _normalise_call(call: Any) -> dict[str, Any]:
    call = call if isinstance(call, dict) else {}
    function = call.get("function")
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise TemplateFailure("chat completions only support assistant tool_calls of type 'function'.")
    return {**call, "function": {**function, "arguments": _arguments(function.get("arguments"))}}


def _arguments(raw: Any) -> dict[str, Any]:
    """Arguments as an object; what is no JSON object becomes an empty one, as vLLM has it."""
    if isinstance(raw, str) and raw:
        try:
            raw = json.loads(raw)
        except ValueError:
            return {}
    return raw if isinstance(raw, dict) else {}


def _normalise_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool definition with the fields in the order in which vLLM writes them, and no others."""
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise TemplateFailure("each tool needs a function with a name")
    result = {name: function.get(name) for name in ("name", "description", "parameters")}
    if function.get("strict") is not None:
        result["strict"] = function["strict"]
    return {"type": "function", "function": result}
