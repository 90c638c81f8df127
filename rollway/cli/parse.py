"""``rollway parse``: parse model output from standard input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollway.errors import UserError

if TYPE_CHECKING:
    from rollway.tool_parsers import ParsedOutput

INDENT = "    "


def parse(
    format_name: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", show_default=False, help="Tool-call format, such as hermes."
        ),
    ] = "",
    reasoning: Annotated[
        str,
        typer.Option(
            metavar="FORMAT", show_default=False, help="Reasoning format, such as qwen3. [default: none]"
        ),
    ] = "",
    tools: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON file with the request's tools.")
    ] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Repair nearly valid JSON.")] = False,
    print_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List all formats and exit.")] = False,
) -> None:
    """Parse tool calls and reasoning in model output, read from standard input.

    \b
    Examples:
      rollway parse --list
      echo '<tool_call>{"name": "f", "arguments": {}}</tool_call>' | rollway parse --format hermes
    """
    import sys

    from rollway.tool_parsers import get_parser, get_reasoning_format

    if show_list:
        print(formats_for_people())
        return
    if not format_name:
        raise UserError("--format is required, as in --format hermes; --list shows all formats")
    parser = get_parser(format_name)
    split = get_reasoning_format(reasoning).split if reasoning else None
    offered = read_tools(tools) if tools is not None else []
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    thought, content = split(text, None) if split else (None, text)
    parsed = parser.parse(content or "", offered, lenient=lenient)
    print(as_json(thought, parsed) if print_json else as_text(thought, parsed))


def read_tools(path: Path) -> list[dict[str, Any]]:
    """Read a list of tools in OpenAI format, or an object with such a list under ``tools``.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    import msgspec

    try:
        value = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the tools file {path}: {error.strerror}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"the tools file {path} is not valid JSON: {error}") from None
    tools = value.get("tools") if isinstance(value, dict) else value
    if not isinstance(tools, list):
        raise UserError(f"the tools file {path} does not hold a list of tools")
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UserError(
                f"tool {index} of {path} has no name; write "
                f'{{"type": "function", "function": {{"name": ..., "parameters": {{...}}}}}}'
            )
    return tools


def as_json(thought: str | None, parsed: ParsedOutput) -> str:
    """The result as one line of JSON."""
    import json

    import msgspec

    fields: dict[str, Any] = {"reasoning": thought, **msgspec.to_builtins(parsed)}
    return json.dumps(fields)


def as_text(thought: str | None, parsed: ParsedOutput) -> str:
    """The result as text for people."""
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
    return "\n".join(parts) or "nothing to parse: the text is empty"


def formats_for_people() -> str:
    """Each format with its models and an example."""
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
