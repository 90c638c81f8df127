"""JSON calls without a tag: what of the JSON in a text is a call, and what is only data.

JSON counts as a call when it has both a name and arguments. What begins like one and cannot be read is
reported; all other JSON is text.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from rollway.tool_parsers.json_calls import UNCLOSED, Fault, read_fields, read_plain_call
from rollway.tool_parsers.json_lenient import read_lenient
from rollway.tool_parsers.json_values import Ending, JsonScanner
from rollway.tool_parsers.output import ParseErrorKind

FIRST_KEY = r"""\{\s*+["'](?:name|arguments|parameters|id|type)["']\s*+:"""
"""How the object of a call begins, whatever its first key is."""

_NAME_FIRST = re.compile(r"""(?:\[\s*+)?\{\s*+["'](?:name|arguments|parameters)["']\s*+:""")
_NAME = re.compile(r"""["']name["']\s*+:""")
_ARGUMENTS = re.compile(r"""["'](?:arguments|parameters)["']\s*+:""")
_UNREADABLE = Fault(
    ParseErrorKind.INVALID_JSON, "The call is not valid JSON. Check its quotes, commas and brackets."
)


class Finding(Enum):
    """What an object in the text is."""

    CALL = "call"  # or meant as one
    DATA = "data"
    BROKEN = "broken"  # meant as a call, but nobody can say where it ends


class Candidate(NamedTuple):
    """An object that begins like a call."""

    finding: Finding
    end: int  # what stands before it need not be looked at again
    fault: Fault = _UNREADABLE  # of what is broken


def judge(text: str, start: int, scanner: JsonScanner) -> Candidate:
    """Decide about the object at ``start``, which begins with `FIRST_KEY`."""
    scan = scanner.scan(text, start)
    nearly = read_lenient(text, start) if scan.single_quotes else None
    if nearly is not None:
        return Candidate(_judge_object(text[start : nearly[1]]), nearly[1])
    if scan.ending is Ending.COMPLETE:
        return Candidate(_judge_object(text[start : scan.end]), scan.end)
    end = max(scan.end, start + 1)
    if not _NAME_FIRST.match(text, start):
        return Candidate(Finding.DATA, end)
    cut_off = scan.ending in (Ending.TEXT_END, Ending.STRING)
    return Candidate(Finding.BROKEN, end, UNCLOSED if cut_off else _UNREADABLE)


def _judge_object(source: str) -> Finding:
    if read_plain_call(source) is not None:
        return Finding.CALL
    fields, _ = read_fields(source, lenient=False)
    if isinstance(fields, Fault):
        looks_like = _NAME.search(source) and _ARGUMENTS.search(source)
        return Finding.CALL if looks_like else Finding.DATA
    has_arguments = "arguments" in fields or "parameters" in fields
    return Finding.CALL if "name" in fields and has_arguments else Finding.DATA
