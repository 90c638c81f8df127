"""What programs wrote, as text that a model can read.

What a person would see on a terminal is kept: colours and cursor moves go, a line that was written over shows
its last state, bytes that are no text are said in words.
"""

from __future__ import annotations

import re

from rollway.tools.results import cut_middle

_ESCAPE = re.compile(
    rb"\x1b(?:"
    rb"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor moves
    rb"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links
    rb"|[ -/]*[0-~]"  # everything else, such as the choice of a character set
    rb")"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffd]")
_STRUCK = re.compile("[^\n\b]\b")
MAX_ODD = 0.3  # the share of characters that are no text, from which on output counts as binary
FEW_ODD = 8  # up to this many never make it binary
LINE_ENDS = re.compile("\r+\n")


def terminal_text(data: bytes) -> str:
    """Output as a terminal would show it; binary output is replaced by its size."""
    text = _ESCAPE.sub(b"", data).decode("utf-8", "replace")
    odd = len(_CONTROL.findall(_STRUCK.sub("", text.replace("\r", ""))))
    if odd > max(FEW_ODD, MAX_ODD * len(text)):
        return f"[{len(data)} bytes of binary output, not shown]"
    text = LINE_ENDS.sub("\n", text)
    if "\r" in text:
        text = "\n".join(_last_state(line) for line in text.split("\n"))
    while "\b" in text:  # a struck character: each round takes one of a row
        shorter = _STRUCK.sub("", text)
        text = shorter if shorter != text else text.replace("\b", "")
    return re.sub("[\x00-\x08\x0b-\x1f\x7f]", "", text)


def _last_state(line: str) -> str:
    """A line that was written over, such as a progress bar."""
    states = [state for state in line.split("\r") if state]
    return states[-1] if states else ""


def with_note(output: str, note: str, limit: int) -> str:
    """Output of at most ``limit`` characters, cut in the middle, with a note below it."""
    output = cut_middle(output.rstrip("\n"), limit)
    return f"{output}\n{note}" if output else note


class Kept:
    """The beginning and the end of a stream of bytes: bounded, however much comes."""

    def __init__(self, limit: int) -> None:
        self.total = 0  # bytes that came
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes | bytearray) -> None:
        self.total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._half:  # now and then, so that little is copied
            del self._tail[: -self._half]

    def content(self) -> bytes:
        """All of it, or both ends with a line between them that says how much is missing."""
        tail = bytes(self._tail[-self._half :])
        cut = self.total - len(self._head) - len(tail)
        gap = f"\n[... {cut} bytes cut ...]\n".encode() if cut else b""
        return bytes(self._head) + gap + tail
