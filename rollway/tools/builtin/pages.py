"""A file's bytes as the page of lines that a model asked for."""

from __future__ import annotations

from rollway.tools.builtin.edits import cut_line

MAX_LINE = 2_000  # characters of a line that are shown
MAX_PAGE = 40_000  # characters of one page: below what the engine cuts a result to
_LOOKED_AT = 8192  # bytes in which a NUL makes a file binary


class NoPage(ValueError):
    """There is nothing to show. The message is for the model."""


def page_of(
    data: bytes, *, first_line: int, lines: int, numbered: bool, whole: bool = True, name: str = "the file"
) -> str:
    """Lines of a file, and a note if that is not all of it.

    Args:
        first_line: 1-based.
        lines: the most that are shown; fewer where they are long.
        whole: ``data`` is all of the file.

    Raises:
        NoPage: the file is binary, or has no such line.
    """
    if b"\0" in data[:_LOOKED_AT]:
        size = f"{len(data)} bytes" if whole else f"more than {len(data)} bytes"
        raise NoPage(f"Error: {name} is a binary file ({size})")
    if first_line < 1 or lines < 1:
        raise NoPage("Error: first_line and lines must be at least 1")
    text = data.decode("utf-8-sig", "replace")
    every = text.replace("\r\n", "\n").split("\n")
    if every[-1] == "":
        every.pop()
    if not every:
        return f"[{name} is empty]"
    if first_line > len(every):
        raise NoPage(f"Error: {name} has {_lines(len(every))}; first_line is {first_line}")
    shown: list[str] = []
    room = MAX_PAGE
    for number, line in enumerate(every[first_line - 1 : first_line - 1 + lines], first_line):
        entry = cut_line(line, MAX_LINE)
        entry = f"{number:6}\t{entry}" if numbered else entry
        room -= len(entry) + 1
        if room < 0:
            break
        shown.append(entry)
    last = first_line + len(shown) - 1
    if first_line > 1 or last < len(every) or not whole:
        total = f"{len(every)}" if whole else f"more than {len(every)}"
        go_on = f"; continue with first_line={last + 1}" if last < len(every) else ""
        shown.append(f"[lines {first_line} to {last} of {total}{go_on}]")
    return "\n".join(shown)


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
