"""From what a server answered to the typed error: the one place where statuses and wordings are read.

Every server words the same fault in its own way. What is read here is the shape of the reply (OpenAI's and
vLLM's nested, SGLang's flat, FastAPI's ``detail``, plain text), its status, its code and its wording.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rollway.errors import nearest
from rollway.inference.errors import (
    BadRequest,
    ContextOverflow,
    InferenceError,
    ModelNotFound,
    ServerOverloaded,
    ServerUnreachable,
)
from rollway.inference.retry import TryFailed, parse_retry_after

RETRIED_STATUSES = frozenset({408, 409, 429})
"""Besides every 5xx."""

_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_OVERFLOW = re.compile(
    r"maximum context length"  # vLLM chat, OpenAI, and SGLang's "Requested token count exceeds the model's"
    r"|max_(?:completion_)?tokens must be at least 1, got (?:0|-\d+)\b"  # vLLM, the prompt fills the context
    r"|prompt \(length \d+\).* longer than the maximum model length"  # vLLM, prompts of token ids
    r"|longer than the model's context length"  # SGLang
    r"|exceeds? the (?:available |model's )?context (?:size|length|window)"  # llama.cpp and others
    r"|reduce the length of the (?:input |messages|prompt)"  # OpenAI and gateways to it
    r"|prompt is too long: \d+ tokens",  # Anthropic's endpoint
    re.IGNORECASE | re.DOTALL,
)
_ALIASES = re.compile(r"Valid aliases: (.+?)\.?(?: \(parameter=.*)?\s*$", re.DOTALL)
_UNKNOWN_MODEL = re.compile(
    r"\bmodel\b.*(?:does not exist|not found|not exist|unknown)", re.IGNORECASE | re.DOTALL
)
_LONGEST_MESSAGE = 500  # characters of a server's own words
_MOST_NAMES = 8  # model names in one message


class ServerFault(msgspec.Struct, frozen=True):
    """What a server said about a request that it did not serve."""

    message: str  # on one line; "" when it said nothing
    code: str = ""  # a word such as "context_length_exceeded"; "" when the code is a number or absent
    kind: str = ""
    status: int | None = None  # where the body itself names one


def read_fault(body: bytes) -> ServerFault:
    """Read an error body of any shape; what is no JSON is taken as text."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ServerFault(message=one_line(body.decode("utf-8", "replace")))
    if isinstance(data, dict) and isinstance(data.get("error"), dict):
        data = data["error"]
    if not isinstance(data, dict):
        return ServerFault(message=one_line(_text(data)))
    message = next((data[key] for key in ("message", "error", "detail") if data.get(key)), "")
    code, kind = data.get("code"), data.get("type")
    return ServerFault(
        message=one_line(_text(message)),
        code=code if isinstance(code, str) else "",
        kind=kind if isinstance(kind, str) else "",
        status=code if isinstance(code, int) else None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def one_line(text: str) -> str:
    """``text`` without line breaks, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 3] + "..."


def failed_try(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    server: str,
    model: str = "",
    max_tokens: int | None = None,
) -> TryFailed:
    """The failure that a reply with this status means, and whether it may be tried again.

    Args:
        headers: looked up as ``Retry-After`` and ``Location``; a case-insensitive mapping is best.
        server: address for messages.
        model: name that was asked for.
        max_tokens: tokens that were asked for, which tells a foolish request from a full context.
    """
    fault = read_fault(body)
    error = error_for(status, fault, server=server, model=model, max_tokens=max_tokens)
    if isinstance(error, ServerOverloaded):
        return TryFailed(error, retry=True, retry_after=parse_retry_after(headers.get("Retry-After")))
    if status in range(300, 400) and headers.get("Location"):
        error = BadRequest(f"{error}; it redirects to {headers['Location']}", status=status)
    return TryFailed(error, retry=False)


def error_for(
    status: int, fault: ServerFault, *, server: str, model: str = "", max_tokens: int | None = None
) -> InferenceError:
    """The typed error for one faulty reply."""
    said = fault.message or "no reason given"
    if status not in RETRIED_STATUSES and _is_overflow(fault, max_tokens):
        return ContextOverflow(
            f"the prompt is too long for {model or 'the model'} at {server}: {said}", status=status
        )
    if status == 404 or fault.code == "model_not_found":
        return _not_found(fault, server, model, status)
    if status in RETRIED_STATUSES or status >= 500:
        return ServerOverloaded(f"{server} answered {status}: {said}", status=status)
    if status in (401, 403):
        return BadRequest(
            f"{server} refused the API key ({status}): {said}; pass a valid api_key", status=status
        )
    if status in range(300, 400):
        return BadRequest(
            f"{server} answered {status}, a redirect; pass the final address as base_url", status=status
        )
    return BadRequest(f"{server} refused the request ({status}): {said}", status=status)


def _is_overflow(fault: ServerFault, max_tokens: int | None) -> bool:
    if fault.code in _OVERFLOW_CODES or fault.kind in _OVERFLOW_CODES:
        return True
    if max_tokens is not None and max_tokens < 1:
        return False  # "max_tokens must be at least 1" is then the caller's own mistake
    return _OVERFLOW.search(fault.message) is not None


def _not_found(fault: ServerFault, server: str, model: str, status: int) -> InferenceError:
    said_model = fault.code == "model_not_found" or _UNKNOWN_MODEL.search(fault.message)
    if not said_model:
        return BadRequest(
            f"{server} has no such endpoint (404): {fault.message or 'no reason given'}; set base_url to "
            "an OpenAI-compatible server, such as http://127.0.0.1:8000",
            status=status,
        )
    aliases = _ALIASES.search(fault.message)
    served = [name.strip() for name in aliases[1].split(",")] if aliases else []
    return model_not_found(server, model, served, said=fault.message or "no reason given", status=status)


def model_not_found(
    server: str, model: str, served: Sequence[str], *, said: str = "", status: int | None = None
) -> ModelNotFound:
    """The error for a model that ``server`` does not serve, with the names that it does where known."""
    if served:
        hint = "" if model in served else nearest(model, served)
        said = f"{hint}; available: {name_list(served)}"
    else:
        said = f": {said or 'it serves no model'}"
    error = ModelNotFound(f"{server} does not serve model {model!r}{said}", status=status)
    error.served = served
    return error


def name_list(names: Sequence[str]) -> str:
    """Names for a message, the long list cut."""
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"


def unreachable(server: str, reason: str) -> ServerUnreachable:
    """The error for an address where nothing answers."""
    return ServerUnreachable(
        f"no server at {server} ({one_line(reason)}); start one with 'rollway serve' or 'vllm serve MODEL', "
        "or pass the base_url of a running one"
    )
