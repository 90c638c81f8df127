"""Text edits as pure functions: an exact piece of a file is replaced, and everything else stays as it is.

Models see and write line breaks as ``\\n``; a file keeps the line breaks that it has.
"""

from __future__ import annotations

import difflib
import re

import msgspec

CANDIDATES = 20_000  # lines that are searched for the nearest ones
SHOWN_LINES = 12  # of the nearest place
SHOWN_CHARS = 200  # of a line
_NEAR = 0.5  # how like it a line must be


class EditRefused(ValueError):
    """The text cannot be edited so. The message is for the model."""


class Edited(msgspec.Struct, frozen=True):
    """A text after an edit."""

    text: str
    lines: list[int]  # 1-based, where the replacements begin in the new text


def replace_text(text: str, old: str, new: str, *, everywhere: bool = False) -> Edited:
    """Replace ``old``, which must stand there exactly once unless ``everywhere``.

    Raises:
        EditRefused: it stands nowhere, or more than once; or there is nothing to do.
    """
    if not old:
        raise EditRefused("Error: old is empty; give the text to replace, or use write_file for a whole file")
    if old == new:
        raise EditRefused("Error: old and new are the same")
    found, wanted = _in_the_files_breaks(text, old, new)
    places = [match.start() for match in re.finditer(re.escape(found), text)]
    if not places:
        raise EditRefused(_not_found(text, old))
    if len(places) > 1 and not everywhere:
        lines = ", ".join(str(text.count("\n", 0, place) + 1) for place in places[:10])
        more = ", ..." if len(places) > 10 else ""
        raise EditRefused(
            f"Error: old occurs {len(places)} times (lines {lines}{more}); include more surrounding lines, "
            "or set all=true"
        )
    shift = len(wanted) - len(found)
    after = text.replace(found, wanted)
    return Edited(after, [after.count("\n", 0, p + i * shift) + 1 for i, p in enumerate(places)])


def _in_the_files_breaks(text: str, old: str, new: str) -> tuple[str, str]:
    crlf = text.count("\r\n")
    if crlf * 2 > text.count("\n"):
        old_crlf, new_crlf = _crlf(old), _crlf(new)
        if old_crlf in text:
            return old_crlf, new_crlf
    elif old not in text and crlf and _crlf(old) in text:  # a file of mixed breaks
        return _crlf(old), _crlf(new)
    return old, new


def _crlf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def _not_found(text: str, old: str) -> str:
    message = "Error: old is not in the file"
    lines = text.splitlines()
    wanted = [line.strip() for line in old.splitlines() if line.strip()]
    if not wanted:
        return f"{message}; it is only whitespace"
    stripped = [line.strip()[:SHOWN_CHARS] for line in lines[:CANDIDATES]]
    near = difflib.get_close_matches(wanted[0][:SHOWN_CHARS], set(stripped), n=1, cutoff=_NEAR)
    if not near:
        return f"{message}, and no line resembles its first line; read the file again"
    places = [number for number, line in enumerate(stripped) if line == near[0]]
    first = max(places, key=lambda place: _like(stripped[place : place + len(wanted)], wanted))
    shown = lines[first : first + min(max(len(old.splitlines()), 1), SHOWN_LINES)]
    numbered = "\n".join(numbered_line(first + 1 + i, line) for i, line in enumerate(shown))
    same = [line.strip() for line in shown if line.strip()] == wanted
    hint = "only whitespace differs" if same else "the nearest lines"
    return f"{message}; {hint}:\n{numbered}"


def _like(lines: list[str], wanted: list[str]) -> int:
    return sum(line == other for line, other in zip(lines, wanted, strict=False))


def numbered_line(number: int, line: str) -> str:
    return f"{number:6}\t{cut_line(line, SHOWN_CHARS)}"


def cut_line(line: str, limit: int) -> str:
    """The beginning of a line that is too long, and how much is missing."""
    if len(line) <= limit:
        return line
    return f"{line[:limit]} [... {len(line) - limit} characters cut]"
