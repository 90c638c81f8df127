"""The one exception for a user's own mistake, told in one line and never with a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the person at the keyboard. The message says what is wrong, where, and how to mend it."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint such as ``" (did you mean 'calculator'?)"``, or ``""`` when nothing is near."""
    near = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def in_short(value: object) -> str:
    """A value as a message shows it: its ``repr``, and of a long one 80 characters and ``...``."""
    shown = repr(value)
    return f"{shown[:80]}..." if len(shown) > 80 else shown
