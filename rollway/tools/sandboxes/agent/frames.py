"""What travels on the socket: frames of a header and raw bytes.

The two directions are told apart by trust. The agent trusts whoever started it, and reads what is quickest to
read; nobody trusts the agent, whose headers are JSON.
"""

from __future__ import annotations

import marshal
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Header = dict[str, Any]

PIECE = 1 << 20  # bytes of a file or of a stream that travel in one frame

_SIZES = struct.Struct(">II")


def order(header: Header, body: bytes = b"") -> bytes:
    """A frame to the agent, which trusts whoever started it: its header is marshalled."""
    return _frame(marshal.dumps(header, 2), body)


def report(header: Header, body: bytes = b"") -> bytes:
    """A frame from the agent, which nobody trusts: its header is JSON."""
    return _frame(to_json(header), body)


def _frame(header: bytes, body: bytes) -> bytes:
    return b"".join((_SIZES.pack(len(header), len(body)), header, body))


def to_json(value: object) -> bytes:
    """The JSON of what a header may hold: texts, finite numbers, truth values, ``None``, and lists and
    dictionaries of them."""
    if isinstance(value, str):
        units = value.encode("utf-16-be", "replace")
        codes = (high << 8 | low for high, low in zip(units[::2], units[1::2], strict=True))
        return b'"%s"' % b"".join(_character(code) for code in codes)
    if isinstance(value, dict):
        return b"{%s}" % b",".join(to_json(key) + b":" + to_json(value[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return b"[%s]" % b",".join(map(to_json, value))
    if value is None or isinstance(value, bool):
        return {None: b"null", True: b"true", False: b"false"}[value]
    return repr(value).encode()


def _character(code: int) -> bytes:
    return b"%c" % code if 32 <= code < 127 and code not in b'"\\' else b"\\u%04x" % code


class Frames:
    """Cuts what came in back into headers, not yet read, and bodies."""

    def __init__(self, max_size: int = 1 << 31) -> None:
        self._data = bytearray()
        self._max_size = max_size

    def add(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that are whole now.

        Raises:
            ValueError: a frame is larger than ``max_size``.
        """
        self._data += data
        whole = []
        while len(self._data) >= _SIZES.size:
            text_size, body_size = _SIZES.unpack_from(self._data)
            end = _SIZES.size + text_size + body_size
            if end > self._max_size:
                raise ValueError(f"a frame of {end} bytes")
            if len(self._data) < end:
                break
            middle = _SIZES.size + text_size
            whole.append((bytes(self._data[_SIZES.size : middle]), bytes(self._data[middle:end])))
            del self._data[:end]
        return whole
