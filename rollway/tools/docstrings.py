"""A docstring, taken apart into what the tool does and what each argument means.

Sections of the Google and NumPy styles are read here, so that notes stay in the description and arguments
that are described together are told apart, which `docstring_parser` does not do. It reads the fields of
Sphinx and Epydoc.
"""

from __future__ import annotations

import inspect
import re

import msgspec

_ARGUMENTS = {
    "args",
    "arguments",
    "parameters",
    "params",
    "other parameters",
    "keyword args",
    "keyword arguments",
}
_LEFT_OUT = {"returns", "return", "yields", "yield", "raises", "raise", "warns", "examples", "example"}
_FIELD = re.compile(  # what a list of fields begins with: ":param x:" of Sphinx, "@param x:" of Epydoc
    r"^[:@](?:param|parameter|arg|argument|key|keyword|type|raise[sd]?|except(?:ion)?|returns?|rtype|yields?)"
    r"(?:[ \t]+[^:\n]+)?:",
    re.MULTILINE,
)
_GOOGLE_ENTRY = re.compile(r"^(\*{0,2}\w+)\s*(?:\(.*?\))?\s*:\s*(.*)$")
_NUMPY_ENTRY = re.compile(r"^(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")


class Docstring(msgspec.Struct, frozen=True):
    """What a tool's docstring says."""

    description: str  # all text but the sections on arguments, results, errors and examples
    arguments: dict[str, str]  # by parameter, line breaks made spaces


def parse_docstring(text: str | None) -> Docstring:
    """Take a docstring apart. A text without sections or fields is a description as a whole."""
    kept: list[str] = []
    arguments: dict[str, str] = {}
    lines = inspect.cleandoc(text or "").splitlines()
    position = 0
    while position < len(lines):
        section = _section_at(lines, position)
        if section is None:
            kept.append(lines[position])
            position += 1
            continue
        heading, numpy, start = section
        end = _section_end(lines, start, numpy)
        if heading in _ARGUMENTS:
            read = _numpy_entries if numpy else _google_entries
            arguments.update(read(lines[start:end]))
        position = end
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    if _FIELD.search(description):
        description, fields = _read_fields(description)
        arguments.update(fields)
    return Docstring(description, arguments)


def _read_fields(text: str) -> tuple[str, dict[str, str]]:
    """The text around the fields, and what they say of arguments. Malformed fields are left in the text."""
    import docstring_parser as library  # here: few docstrings have fields

    kept, fields = [], []
    for paragraph in re.split(r"\n\s*\n(?=\S)", text):
        start = _FIELD.search(paragraph)
        kept.append(paragraph[: start.start()].rstrip() if start else paragraph)
        fields.append(paragraph[start.start() :] if start else "")
    styles = {":": library.DocstringStyle.REST, "@": library.DocstringStyle.EPYDOC}
    arguments: dict[str, str] = {}
    for field in filter(None, fields):
        try:
            read = library.parse(field, style=styles[field[0]])
        except library.ParseError:
            return text, {}
        arguments |= {
            param.arg_name.lstrip("\\*"): _flowed([param.description or ""]) for param in read.params
        }
    return "\n\n".join(filter(None, kept)), arguments


def _section_at(lines: list[str], position: int) -> tuple[str, bool, int] | None:
    """(heading in lower case, whether underlined, first line of the body) of a section that begins here."""
    heading = lines[position].strip().lower()
    following = lines[position + 1] if position + 1 < len(lines) else ""
    if lines[position][:1].isspace():
        return None
    if heading.removesuffix(":") in _ARGUMENTS | _LEFT_OUT and re.fullmatch(r"-{3,}\s*", following):
        return heading.removesuffix(":"), True, position + 2
    if heading.endswith(":") and heading[:-1] in _ARGUMENTS | _LEFT_OUT:
        return heading[:-1], False, position + 1
    return None


def _section_end(lines: list[str], start: int, numpy: bool) -> int:
    """A Google body is indented; a NumPy body goes on to the next underlined heading."""
    for position in range(start, len(lines)):
        line = lines[position]
        if not line.strip():
            continue
        if numpy:
            following = lines[position + 1] if position + 1 < len(lines) else ""
            if re.fullmatch(r"-{3,}\s*", following):
                return position
        elif not line[0].isspace():
            return position
    return len(lines)


def _google_entries(body: list[str]) -> dict[str, str]:
    entries: dict[str, list[str]] = {}
    current: list[str] = []
    indent = min((_indent(line) for line in body if line.strip()), default=0)
    for line in body:
        entry = _GOOGLE_ENTRY.match(line.strip()) if _indent(line) == indent else None
        if entry:
            current = entries.setdefault(entry[1].lstrip("*"), [])
            current.append(entry[2])
        else:
            current.append(line)
    return {name: _flowed(text) for name, text in entries.items()}


def _numpy_entries(body: list[str]) -> dict[str, str]:
    entries: dict[str, list[str]] = {}
    current: list[list[str]] = []
    for line in body:
        entry = _NUMPY_ENTRY.match(line) if line.strip() and not line[0].isspace() else None
        if entry:
            names = [name.strip().lstrip("*") for name in entry[1].split(",")]
            current = [entries.setdefault(name, []) for name in names]
        else:
            for text in current:
                text.append(line)
    return {name: _flowed(text) for name, text in entries.items()}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _flowed(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
