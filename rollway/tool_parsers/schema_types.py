"""Values written as bare text, read by the types that a tool's JSON schema declares.

A parameter declared as a string stays a string, whatever it looks like, and so does one without a schema.
Nothing is guessed: a scalar that does not read as its type stays text, for the check of arguments to name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from rollway.tool_parsers.format import Tools
from rollway.tool_parsers.json_calls import Fault, read_value

Node = Mapping[str, Any]

STRING_ONLY = frozenset({"string"})
_CONTAINERS = {"array": "[", "object": "{"}
_MAX_DIGITS = 4000  # Python refuses to read longer integers
_INTEGER = re.compile(r"-?(?:0|[1-9]\d*+)", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*+)(?:\.\d++)?(?:[eE][+-]?\d++)?", re.ASCII)
_ALIASES = {
    "str": "string", "text": "string", "int": "integer", "float": "number", "double": "number",
    "bool": "boolean", "list": "array", "tuple": "array", "dict": "object", "none": "null",
}  # fmt: skip
_KNOWN = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_COMBINING = frozenset({"$ref", "allOf", "oneOf", "anyOf"})
_MAPPINGS = (dict, Mapping)  # the first is what nearly every schema is, and quick to tell


class Encoded(NamedTuple):
    """A value as JSON text."""

    json: str
    repaired: bool = False  # only leniency could read it


class Schema:
    """A JSON schema with its alternatives (`anyOf`, `oneOf`, `allOf`, local `$ref`) laid side by side."""

    __slots__ = ("_nodes", "_properties", "_root", "types")

    def __init__(self, node: object, root: Node) -> None:
        self._root = root
        self._nodes = _alternatives(node, root)
        self._properties: dict[str, Schema | None] = {}
        self.types = frozenset(kind for each in self._nodes for kind in _types(each))
        """JSON types that the value may have; empty when the schema does not say."""

    def property(self, name: str) -> Schema | None:
        """What is declared for a key of an object; None when nothing is."""
        if name not in self._properties:
            self._properties[name] = self._declared(name) or self._child("additionalProperties")
        return self._properties[name]

    def items(self) -> Schema | None:
        """What is declared for the items of a list; None when nothing is."""
        return self._child("items")

    def _declared(self, name: str) -> Schema | None:
        for node in self._nodes:
            properties = node.get("properties")
            if isinstance(properties, _MAPPINGS) and name in properties:
                return Schema(properties[name], self._root)
        return None

    def _child(self, keyword: str) -> Schema | None:
        for node in self._nodes:
            if isinstance(node.get(keyword), _MAPPINGS):
                return Schema(node[keyword], self._root)
        return None


class ToolSchemas:
    """The parameter schemas of one request's tools. Tools that are no OpenAI tools count as not offered."""

    __slots__ = ("_found", "_tools")

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._found: dict[str, Schema | None] = {}

    def tool(self, name: str) -> Schema | None:
        """The schema of a tool's arguments; None when the tool is not offered or declares none."""
        if name not in self._found:
            parameters = _parameters(self._tools, name)
            self._found[name] = Schema(parameters, parameters) if parameters is not None else None
        return self._found[name]

    def parameter(self, tool: str, key: str) -> Schema | None:
        """The schema of one parameter; None when it is not declared."""
        schema = self.tool(tool)
        return schema.property(key) if schema else None


def encode_text(text: str, schema: Schema | None, *, lenient: bool = False) -> Encoded | Fault:
    """Bare text as the JSON value that its schema makes of it.

    A list or an object that is broken JSON, where nothing but those is declared, is a fault.
    """
    types = schema.types if schema else STRING_ONLY
    if not types or types == STRING_ONLY:
        return Encoded(quote(text))
    plain = text.strip()
    scalar = _scalar(plain, types)
    if scalar is not None:
        return Encoded(scalar)
    may_be_text = "string" in types
    brackets = {_CONTAINERS[kind] for kind in types & _CONTAINERS.keys()}
    looks_nested = plain[:1] in brackets if may_be_text else plain[:1] in ("[", "{") and bool(brackets)
    if (may_be_text and not looks_nested) or _is_unsound_number(plain):
        return Encoded(quote(text))
    value, repaired = read_value(plain, lenient and looks_nested and not may_be_text)
    if not isinstance(value, Fault):
        return Encoded(value, repaired)
    return value if looks_nested and not may_be_text else Encoded(quote(text))


def encode_json(text: str, *, lenient: bool = False) -> Encoded | Fault:
    """Text that the format says is JSON."""
    value, repaired = read_value(text, lenient)
    return value if isinstance(value, Fault) else Encoded(value, repaired)


def quote(text: str) -> str:
    """A JSON string, readable: only what must be escaped is."""
    try:
        return msgspec.json.encode(text).decode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(text)


def join_arguments(fields: Sequence[tuple[str, str]]) -> str:
    """A JSON object of keys and JSON texts."""
    return "{" + ", ".join(f"{quote(key)}: {value}" for key, value in fields) + "}"


def _scalar(text: str, types: frozenset[str]) -> str | None:
    """null, a boolean or a number, where the types allow one and the text is one."""
    if text == "null" and "null" in types:
        return text
    if "boolean" in types:
        word = text if "string" in types else text.lower()
        if word in ("true", "false"):
            return word
    if "integer" not in types and "number" not in types:
        return None
    if _INTEGER.fullmatch(text):
        return text if len(text) <= _MAX_DIGITS else None
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        return None
    if "number" in types:
        return text
    if number.is_integer():
        return str(int(number))
    return None if "string" in types else text


def _is_unsound_number(text: str) -> bool:
    """Whether text is a number in JSON that readers of JSON refuse or take for infinity."""
    if text[-1:] not in "0123456789" or not _NUMBER.fullmatch(text):
        return False
    return len(text) > _MAX_DIGITS if _INTEGER.fullmatch(text) else not math.isfinite(float(text))


def _parameters(tools: Tools, name: str) -> Node | None:
    """What the last tool of this name declares for its arguments."""
    for tool in reversed(tools):
        function = tool.get("function", tool) if isinstance(tool, _MAPPINGS) else None
        if isinstance(function, _MAPPINGS) and function.get("name") == name:
            parameters = function.get("parameters")
            return parameters if isinstance(parameters, _MAPPINGS) else None
    return None


def _alternatives(node: object, root: Node) -> list[Node]:
    """The node and what it refers to or offers as alternatives, each once."""
    if type(node) is dict and not _COMBINING.intersection(node):
        return [node]
    found: list[Node] = []
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, _MAPPINGS) or id(current) in seen:
            continue
        seen.add(id(current))
        found.append(current)
        waiting.append(_referred(current.get("$ref"), root))
        for keyword in ("allOf", "oneOf", "anyOf"):
            offered = current.get(keyword)
            if isinstance(offered, Sequence) and not isinstance(offered, str):
                waiting.extend(reversed(offered))
    return found


def _referred(reference: object, root: Node) -> object:
    """What a reference into the same schema (``#/$defs/Point``) points at; None for any other."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    target: object = root
    for step in reference[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        target = target.get(step) if isinstance(target, _MAPPINGS) else None
    return target


def _types(node: Node) -> list[str]:
    declared = node.get("type")
    if isinstance(declared, str) and declared in _KNOWN and "nullable" not in node:
        return [declared]
    names = [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else []
    types = [_ALIASES.get(name.lower(), name.lower()) for name in names if isinstance(name, str)]
    if node.get("nullable") is True and types:
        types.append("null")
    if types:
        return [kind for kind in types if kind in _KNOWN]
    if isinstance(node.get("enum"), list):
        return [_type_of(value) for value in node["enum"]]
    if "const" in node:
        return [_type_of(node["const"])]
    if "properties" in node:
        return ["object"]
    return ["array"] if "items" in node else []


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, name in ((str, "string"), (int, "integer"), (float, "number"), (Mapping, "object")):
        if isinstance(value, kind):
            return name
    return "array"
