"""``rollway parse``: what a parser makes of a model's text, read from standard input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollway.errors import UserError

if TYPE_CHECKING:
    from rollway.tool_parsers import ParsedOutput

INDENT = "    "


def parse(
    format_name: Annotated[str, typer.Option("--format", help="The format that calls are written in.")] = "",
    reasoning: Annotated[str, typer.Option(help="The format that thoughts are written in.")] = "",
    tools: Annotated[Path | None, typer.Option(help="JSON file with the request's tools.")] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Read nearly valid JSON as well.")] = False,
    print_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Show every format and leave.")] = False,
) -> None:
    """Read the tool calls in a model's text.

    Example: echo '<tool_call>{"name": "f", "arguments": {}}</tool_call>' | rollway parse --format hermes
    """
    import sys

    from rollway.tool_parsers import get_parser, get_reasoning_format

    if show_list:
        print(formats_for_people())
        return
    if not format_name:
        raise UserError("name a format, as in --format hermes; --list shows them all")
    parser = get_parser(format_name)
    split = get_reasoning_format(reasoning).split if reasoning else None
    offered = read_tools(tools) if tools is not None else []
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    thought, content = split(text, None) if split else (None, text)
    parsed = parser.parse(content or "", offered, lenient=lenient)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    print(as_json(thought, parsed) if print_json else as_text(thought, parsed))


def read_tools(path: Path) -> list[dict[str, Any]]:
    """A file with a list of tools in the OpenAI shape, or an object that has them under ``tools``.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    import msgspec

    try:
        value = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the tools file {path}: {error.strerror}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"the tools file {path} is no JSON: {error}") from None
    tools = value.get("tools") if isinstance(value, dict) else value
    if not isinstance(tools, list):
        raise UserError(f"the tools file {path} holds no list of tools")
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UserError(
                f"tool {index} of {path} has no name; write "
                f'{{"type": "function", "function": {{"name": ..., "parameters": {{...}}}}}}'
            )
    return tools


def as_json(thought: str | None, parsed: ParsedOutput) -> str:
    """Everything that was read, as one line."""
    import json

    import msgspec

    fields: dict[str, Any] = {"reasoning": thought, **msgspec.to_builtins(parsed)}
    return json.dumps(fields)


def as_text(thought: str | None, parsed: ParsedOutput) -> str:
    """Everything that was read, for people."""
    parts = []
    if thought is not None:
        parts.append(f"reasoning:\n{_indented(thought)}")
    if parsed.content is not None:
        parts.append(f"content:\n{_indented(parsed.content)}")
    for index, call in enumerate(parsed.tool_calls):
        repaired = ", repaired" if index in parsed.repaired else ""
        parts.append(f"call {call.name} ({call.id}{repaired}):\n{_indented(call.arguments)}")
    for error in parsed.errors:
        parts.append(f"error {error.kind} at character {error.position}: {error.message}")
    return "\n".join(parts) or "nothing: the text is empty"


def formats_for_people() -> str:
    """Each format with the models that write it and an example of it."""
    from rollway.tool_parsers import list_formats, list_reasoning_formats

    blocks = []
    for entry in list_formats():
        names = ", ".join((entry.name, *entry.aliases))
        blocks.append(f"{names}\n  {entry.models}\n{_indented(entry.example.rstrip())}")
    for thought in list_reasoning_formats():
        names = ", ".join((thought.name, *thought.aliases))
        example = thought.join("The user greets me.", "Hello!")
        blocks.append(f"--reasoning {names}\n  {thought.models}\n{_indented(example)}")
    return "\n\n".join(blocks)


def _indented(text: str) -> str:
    return "\n".join(INDENT + line for line in text.split("\n"))
