"""A model folder's chat template: messages and tools to the prompt's text, without transformers.

Renders to the letter what transformers renders for the same folder. Messages and tools are first brought into
the shape in which vLLM hands them to a template, so that a prompt made here is the one that its chat endpoint
would make.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rollway.errors import UserError
from rollway.inference.model_folder import special_token_texts, tokenizer_settings
from rollway.trajectory import Message

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.ext import Extension

_FAULTS = (TypeError, ValueError, LookupError, ArithmeticError, RecursionError)
"""What a template's own expressions raise on messages that it was not written for."""


class TemplateFailure(ValueError):
    """The template refuses these messages, or they are no chat messages."""


class ChatTemplate:
    """``chat_template.jinja`` of a folder, or the template inside its ``tokenizer_config.json``.

    Raises:
        UserError: there is no such folder, it has none, or it is no jinja template.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"folder not found: {folder}; pass the model's own folder")
        sources = template_sources(folder)
        self._plain = _compiled(sources["default"], folder)
        self._with_tools = _compiled(sources["tool_use"], folder) if "tool_use" in sources else self._plain
        self._tokens = special_token_texts(tokenizer_settings(folder))

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt as text. ``variables`` reach the template, as ``chat_template_kwargs`` do in requests.

        Raises:
            TemplateFailure: the template refuses the messages, or one of them is malformed.
        """
        from jinja2 import TemplateError

        values = {
            **self._tokens,
            "messages": [normal_message(message) for message in messages],
            "tools": [normal_tool(tool) for tool in tools] if tools else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **variables,
        }
        template = self._with_tools if tools else self._plain
        try:
            return template.render(values)
        except (TemplateError, *_FAULTS) as error:
            raise TemplateFailure(str(error) or type(error).__name__) from error


def template_sources(folder: Path) -> dict[str, str]:
    """A folder's templates by name; "default" is always there, "tool_use" is for requests with tools.

    Raises:
        UserError: the folder has no chat template.
    """
    path = folder / "chat_template.jinja"
    source = (
        path.read_text(encoding="utf-8")
        if path.is_file()
        else tokenizer_settings(folder).get("chat_template")
    )
    if isinstance(source, list):
        sources = {str(entry.get("name")): entry.get("template") for entry in source}
    else:
        sources = {"default": source}
    if not isinstance(sources.get("default"), str):
        raise UserError(
            f"{folder} has no chat_template.jinja, and no chat_template in its tokenizer_config.json: "
            "without one no chat can be rendered"
        )
    return {name: text for name, text in sources.items() if isinstance(text, str)}


def _compiled(source: str, folder: Path) -> Template:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise UserError(
            f"the chat template of {folder} is broken: line {error.lineno}: {error.message}"
        ) from None


def _generation_tag() -> type[Extension]:
    """``{% generation %}`` marks what the model writes; for rendering it is a block and no more."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012  (jinja2's own class attribute)

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller: Any) -> str:
            return str(caller())

    return Generation


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


def _raise(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _now(format: str) -> str:
    return datetime.now().strftime(format)


def normal_message(message: Message) -> Message:
    """A message as templates are given it. Raises `TemplateFailure` for one that is malformed."""
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
            result["tool_calls"] = [_normal_call(call) for call in message["tool_calls"]]
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


def _normal_call(call: Any) -> dict[str, Any]:
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
        except (ValueError, RecursionError):
            return {}
    return raw if isinstance(raw, dict) else {}


def normal_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool definition with the fields in the order in which vLLM writes them, and no others."""
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise TemplateFailure("each tool needs a function with a name")
    result = {name: function.get(name) for name in ("name", "description", "parameters")}
    if function.get("strict") is not None:
        result["strict"] = function["strict"]
    return {"type": "function", "function": result}
