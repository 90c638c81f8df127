"""How a reply ended: a list of the words that mean a good end, because the bad ones cannot be listed.

The invariant: a reply is whole only where its server says so in a word that is known to mean it, or where it
says nothing and the last sampled token is one that ends a reply. An error, or an abort that carries a reason,
is the server's fault by its own name, whatever stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from rollway.inference.faults import ServerFault, error_for, fault_of, one_line, refused_try, status_of
from rollway.inference.overflow import find_overflow
from rollway.trajectory import ErrorRecord

ABORTED = "abort"


class Ending(StrEnum):
    """What the end of a reply means."""

    WHOLE = "whole"  # the model ended it
    CUT = "cut"  # there is more to it, or nobody says that there is not
    GIVEN_UP = "given_up"  # the server did not finish it


WHOLE = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete"})
"""OpenAI and most servers; llama.cpp and Together; TGI (two); Anthropic (two); Cohere. In any case."""

CALLING = frozenset({"tool_calls", "function_call", "tool_use", "tool_call", "malformed_function_call"})
"""OpenAI; its older form; Anthropic; Cohere; Gemini. Good ends of a reply that holds a call."""

_GIVEN_UP = re.compile(
    r"abort|error|fail|cancel|network|time.?out|disconnect|unavailable|overload|interrupt|insufficient"
)


class Finish(msgspec.Struct):
    """A finish reason that is an object, as SGLang writes it."""

    exact: ClassVar[frozenset[str]] = frozenset({"type", "reason"})
    type: str | None = None
    reason: str | None = None
    matched: Any = None  # the stop string or the stop token's id
    message: str | None = None
    status_code: int | None = None
    err_type: str | None = None


def ending_of(finish_reason: str, *, calls: bool, at_stop: bool | None) -> Ending:
    """What the end of a reply means.

    Args:
        finish_reason: the server's word; "" where it has none.
        calls: the reply holds a call, readable or not.
        at_stop: its last sampled token ends a reply; None: not known.
    """
    word = finish_reason.strip().lower()
    if not word:
        return Ending.WHOLE if at_stop else Ending.CUT
    if word in WHOLE:
        return Ending.WHOLE
    if word in CALLING:
        return Ending.WHOLE if calls else Ending.CUT
    return Ending.GIVEN_UP if _GIVEN_UP.search(word) else Ending.CUT


def word_of(finish: str | Finish | None) -> str:
    """The one word of a finish reason of either form; "" where there is none."""
    if isinstance(finish, Finish):
        return finish.type or finish.reason or ""
    return finish or ""


def fault_in_reply(
    finish: str | Finish | None,
    errors: Sequence[Any],
    *,
    said: bool,
    server: str,
    model: str = "",
    max_tokens: int | None = None,
    sent: int | None = None,
) -> ErrorRecord | None:
    """What a server says went wrong in the middle of a reply; None: nothing, or an abort without a reason.

    Args:
        errors: what stands in the fields for errors of the reply and of its choice.
        said: the model said something before that.

    Raises:
        TryFailed: the model said nothing. Then it is an error as any other, tried again or not.
    """
    fault = next((fault_of(error) for error in errors if error), None) or _reason_of_abort(finish)
    if fault is None:
        return None
    asked: dict[str, Any] = {"server": server, "model": model, "max_tokens": max_tokens, "sent": sent}
    if not said:
        raise refused_try(fault, **asked)
    error = error_for(status_of(fault), fault, **asked)
    return ErrorRecord(kind=type(error).__name__, message=str(error), where="model")


_MERE_ABORT = re.compile(r"(?:the )?(?:request )?(?:is |was )?abort\w*\b.{0,40}|unknown error", re.IGNORECASE)


def _reason_of_abort(finish: str | Finish | None) -> ServerFault | None:
    """SGLang gives aborts that were asked for a message too ("Aborted", "Abort in waiting queue")."""
    if not isinstance(finish, Finish) or word_of(finish).lower() not in (ABORTED, "error"):
        return None
    message = one_line(finish.message or "")
    bad = finish.status_code is not None and finish.status_code >= 400
    mere = not message or (_MERE_ABORT.fullmatch(message) is not None and find_overflow(message) is None)
    if mere and not bad and not finish.err_type:
        return None
    return ServerFault(message=message, kind=finish.err_type or "", status=finish.status_code)
