"""What an MCP tool returned, as text for the model. Other content is replaced by a description."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rollway.tools.definition import ToolOutput

if TYPE_CHECKING:
    from mcp.types import CallToolResult


def read_result(result: CallToolResult) -> ToolOutput:
    """Text as it is, one block after the other; what the server calls an error is not ok.

    Structured content is used only if there is no text: a server that sends both says the same in both.
    """
    parts = [_told(block) for block in result.content]
    has_text = any(block.type == "text" or _resource_text(block) is not None for block in result.content)
    if result.structured_content is not None and not has_text:
        parts.append(json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":")))
    text = "\n".join(parts)
    if result.is_error and not text.strip():
        text = "Error: the tool failed without an error message"
    return ToolOutput(text, ok=not result.is_error)


def _told(block: Any) -> str:
    if block.type == "text":
        return str(block.text)
    if block.type in ("image", "audio"):
        return f"[{_article(block.type)}, {block.mime_type}, {_size(block.data)}: not shown]"
    if block.type == "resource_link":
        about = [block.uri, block.mime_type, f"{block.size} bytes" if block.size is not None else None]
        return f"[a link to the resource {block.name!r}: {', '.join(part for part in about if part)}]"
    kind = f", {block.resource.mime_type}" if block.resource.mime_type else ""
    text = _resource_text(block)
    if text is not None:
        return f"[the resource {block.resource.uri}{kind}]\n{text}"
    return f"[the resource {block.resource.uri}{kind}, {_size(block.resource.blob)}: not shown]"


def _resource_text(block: Any) -> str | None:
    return getattr(block.resource, "text", None) if block.type == "resource" else None


def _article(kind: str) -> str:
    return "an image" if kind == "image" else "a sound"


def _size(data: str) -> str:
    """Of base64 text, without decoding it."""
    return f"{len(data) * 3 // 4 - data[-2:].count('=')} bytes"
