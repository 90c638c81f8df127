"""What a caller hands to a sandbox, looked at before any of it is sent.

A reward or a `prepare_sandbox` is a user's code: what it gets wrong is told where it is, in words, and is no
result of a command and no fault of the sandbox.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def as_bytes(what: str, data: bytes) -> bytes:
    """The content of a file, or of a standard input.

    Raises:
        TypeError: it is none.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    hint = "; encode text with text.encode()" if isinstance(data, str) else ""
    raise TypeError(f"{what} must be bytes, not {type(data).__name__}{hint}")


def as_command(command: str | Sequence[str]) -> str | list[str]:
    """A text for a shell, or the words of a command.

    Raises:
        TypeError: it is neither.
        ValueError: there is no word.
    """
    if isinstance(command, str):
        return command
    if not isinstance(command, Sequence) or not all(isinstance(word, str) for word in command):
        raise TypeError(f"a command must be a string or a list of strings, not {command!r:.80}")
    if not command:
        raise ValueError("a command must not be empty")
    return list(command)


def as_words(command: Sequence[str]) -> list[str]:
    """The words of a process that is started without a shell.

    Raises:
        TypeError: they are none; a text is taken for its letters by no one.
        ValueError: there is no word.
    """
    words = as_command(command)
    if isinstance(words, str):
        raise TypeError(f"a process needs a list of words, such as ['bash', '-c', {words!r:.80}]")
    return words


def as_seconds(timeout: float | None) -> float | None:
    """How long a command may take.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r:.80}")
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds or None, not NaN")
    return float(timeout)
