"""From what a server answered to the typed error: the one place where statuses and wordings are read.

Every server words the same fault in its own way. What is read here is the shape of the reply (OpenAI's and
vLLM's nested, SGLang's flat, FastAPI's ``detail``, lists, envelopes, plain text), its status, its code and
its wording; whether a request does not fit the context is read in `rollway.inference.overflow`.
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
    UnreadableCall,
)
from rollway.inference.overflow import Misfit, Overflow, find_overflow
from rollway.inference.retry import parse_retry_after
from rollway.inference.tries import TryFailed, TryFault

RETRIED_STATUSES = frozenset({408, 409, 429})
"""Besides every 5xx."""

OVERLOADED_STATUSES = frozenset({429, 503, 529})
"""The server sends requests away because there are too many."""

UNAVAILABLE_STATUSES = frozenset({408, 409, 425, 502, 504, *range(520, 528), 530})
"""Something before the server does not reach it, or the server is in a state that passes."""

_NOT_READY = re.compile(
    r"\b(?:loading|starting up|warming up|not ready|unavailable|overloaded|try again|shutting down"
    r"|engine ?(?:core )?(?:is )?(?:dead|encountered))",
    re.IGNORECASE,
)
"""What servers say in a 500 that will pass."""

_NO_STATUS = 502
"""Of an error inside a 200 that names none: something between us and the model failed."""

_STATUS_WORDS = (
    (re.compile(r"invalid.?(request|param)|bad.?request|validation|unprocessable", re.IGNORECASE), 400),
    (re.compile(r"auth|permission|api.?key", re.IGNORECASE), 401),
    (re.compile(r"not.?found", re.IGNORECASE), 404),
    (re.compile(r"rate.?limit|too.?many.?requests", re.IGNORECASE), 429),
)
"""Types and codes that stand for a status, where an error inside a 200 names none in numbers."""

_MESSAGE_KEYS = ("message", "msg", "error_message", "errorMessage", "error_msg", "error", "detail")
_CODE_KEYS = ("code", "error_code", "errorCode", "status_code", "status")
_TYPE_KEYS = ("type", "error_type", "err_type")
_PROMPT_KEYS = ("n_prompt_tokens", "num_prompt_tokens", "prompt_tokens", "input_tokens")
_CONTEXT_KEYS = ("n_ctx", "max_model_len", "context_length", "max_context_length", "context_size")
_ENVELOPES = ("error", "errors", "data", "response", "result", "detail")
_UNREADABLE_CALL = re.compile(
    r"\bpars(?:e|ing)\b.{0,30}\b(?:tool|function).?calls?|(?:tool|function).?calls?.{0,60}\bpars(?:e|ed|ing)\b"
    r"|tool_use_failed|failed to call a function",
    re.IGNORECASE | re.DOTALL,
)
_ALIASES = re.compile(r"Valid aliases: (.+?)\.?(?: \(parameter=.*)?\s*$", re.DOTALL)
_UNKNOWN_MODEL = re.compile(
    r"\bmodel\b.*(?:does not exist|not found|not exist|unknown)", re.IGNORECASE | re.DOTALL
)
_LONGEST_MESSAGE = 500  # characters of a server's own words
_MOST_NAMES = 8  # model names in one message
_MOST_LAYERS = 5  # of objects around an error
_LONGEST_CODE = 10  # digits of a status in a text


class ServerFault(msgspec.Struct, frozen=True):
    """What a server said about a request that it did not serve."""

    message: str  # on one line; "" when it said nothing
    code: str = ""  # a word such as "context_length_exceeded"; "" when the code is a number or absent
    kind: str = ""
    status: int | None = None  # where the body itself names one
    prompt_tokens: int | None = None  # where it counts them in a field of its own
    context: int | None = None  # tokens, likewise


def read_fault(body: bytes) -> ServerFault:
    """Read an error body of any shape; what is no JSON is taken as text."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ServerFault(message=one_line(body.decode("utf-8", "replace")))
    return fault_of(data)


def fault_of(data: Any) -> ServerFault:
    """Read decoded JSON that stands for an error: an object, a list of them, or a text."""
    layers = _layers(data)
    if not layers:
        return ServerFault(message=one_line(_text(data)))
    message = next((_words(layer) for layer in reversed(layers) if _words(layer)), "")
    codes = [layer[key] for layer in reversed(layers) for key in _CODE_KEYS if key in layer]
    kinds = [layer[key] for layer in reversed(layers) for key in _TYPE_KEYS if key in layer]
    numbers = [int(code) for code in codes if _is_number(code)]
    return ServerFault(
        message=one_line(message),
        code=next((code for code in codes if isinstance(code, str) and not _is_number(code)), ""),
        kind=next((kind for kind in kinds if isinstance(kind, str)), ""),
        status=next(iter(numbers), None),
        prompt_tokens=_count(layers, _PROMPT_KEYS),
        context=_count(layers, _CONTEXT_KEYS),
    )


def refusal_of(body: bytes) -> ServerFault | None:
    """The error that stands in the body of a 200; None: there is none."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    refused = any(_is_refusal(layer) for layer in _layers(data)) or (
        isinstance(data, dict)
        and any(isinstance(data.get(key), str) and data[key] for key in ("error", "detail"))
    )
    return fault_of(data) if refused else None


def _layers(data: Any) -> list[dict[str, Any]]:
    """The objects in which an error may be wrapped, from outside to inside."""
    layers: list[dict[str, Any]] = []
    while True:
        if isinstance(data, list) and data and isinstance(data[0], dict) and "loc" not in data[0]:
            data = data[0]
        if not isinstance(data, dict) or len(layers) == _MOST_LAYERS:
            return layers
        layers.append(data)
        data = next(
            (data[key] for key in _ENVELOPES if isinstance(data.get(key), (dict, list)) and data[key]), None
        )


def _is_refusal(layer: Mapping[str, Any]) -> bool:
    """Whether an object without a reply says that it is an error."""
    if layer.get("object") == "error" or layer.get("type") == "error" or layer.get("success") is False:
        return True
    if any(
        layer.get(key) for key in ("error", "errors", "detail", "error_message", "error_msg", "errorMessage")
    ):
        return True
    codes = [layer[key] for key in _CODE_KEYS if key in layer]
    bad = any((_is_number(code) and int(code) >= 400) or code in ("error", "failed") for code in codes)
    return bad and bool(_words(layer))


def _words(layer: Mapping[str, Any]) -> str:
    """An error object's own words, and those that a gateway passes on from the server behind it."""
    said = next((layer[key] for key in _MESSAGE_KEYS if layer.get(key) and not _wraps(layer[key])), "")
    text = _text(said)
    if text.startswith("{"):
        text = read_fault(text.encode("utf-8", "replace")).message or text
    more = layer.get("metadata")
    raw = more.get("raw") if isinstance(more, dict) else None
    if raw:
        text = f"{text}: {read_fault(_text(raw).encode('utf-8', 'replace')).message}"
    return text


def _wraps(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "loc" not in value[0]
    )


def _is_number(code: Any) -> bool:
    if isinstance(code, str):
        return code.isascii() and code.isdigit() and len(code) < _LONGEST_CODE
    return isinstance(code, int) and not isinstance(code, bool)


def _count(layers: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int | None:
    found = (layer[key] for layer in layers for key in keys if key in layer)
    return next((int(value) for value in found if _is_number(value)), None)


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
    sent: int | None = None,
) -> TryFailed:
    """The failure that a reply with this status means, and whether it may be tried again.

    Args:
        headers: looked up as ``Retry-After`` and ``Location``; a case-insensitive mapping is best.
        server: address for messages.
        model: name that was asked for.
        max_tokens: tokens that were asked for, which tells a foolish request from a full context.
        sent: ids of the prompt, where ids were sent.
    """
    fault = read_fault(body)
    error = error_for(status, fault, server=server, model=model, max_tokens=max_tokens, sent=sent)
    if isinstance(error, ServerOverloaded):
        after = parse_retry_after(headers.get("Retry-After"))
        return TryFailed(error, fault=_fault_of(status, fault.message), retry_after=after)
    if isinstance(error, UnreadableCall):
        return TryFailed(error, retry=status >= 500)
    if status in range(300, 400) and headers.get("Location"):
        error = BadRequest(f"{error}; it redirects to {headers['Location']}", status=status)
    return TryFailed(error, retry=False)


def refused_try(
    fault: ServerFault,
    *,
    server: str,
    model: str = "",
    max_tokens: int | None = None,
    sent: int | None = None,
) -> TryFailed:
    """The failure that an error inside a 200 means. Its status is the one that it names, in whatever way."""
    status = status_of(fault)
    error = error_for(status, fault, server=server, model=model, max_tokens=max_tokens, sent=sent)
    if isinstance(error, ServerOverloaded):
        return TryFailed(error, fault=_fault_of(_named_status(fault) or 500, fault.message))
    return TryFailed(error, retry=isinstance(error, UnreadableCall) and status >= 500)


def _fault_of(status: int, said: str) -> TryFault:
    """What may help against a status for which a request is tried again."""
    if status in OVERLOADED_STATUSES:
        return TryFault.OVERLOADED
    if status in UNAVAILABLE_STATUSES or _NOT_READY.search(said):
        return TryFault.UNAVAILABLE
    return TryFault.GARBAGE


def status_of(fault: ServerFault) -> int:
    """The HTTP status that an error inside a 200 would have had."""
    named = _named_status(fault)
    return _NO_STATUS if named is None else named


def _named_status(fault: ServerFault) -> int | None:
    """The status that an error names, in numbers or in words."""
    if fault.status is not None and 400 <= fault.status < 600:
        return fault.status
    words = (fault.code, fault.kind)
    return next(
        (status for pattern, status in _STATUS_WORDS if any(pattern.search(word) for word in words)), None
    )


def error_for(
    status: int,
    fault: ServerFault,
    *,
    server: str,
    model: str = "",
    max_tokens: int | None = None,
    sent: int | None = None,
) -> InferenceError:
    """The typed error for one faulty reply."""
    said = fault.message or fault.code or fault.kind or "no reason given"
    if status not in RETRIED_STATUSES:
        overflow = find_overflow(
            fault.message,
            named=(fault.code, fault.kind),
            prompt=fault.prompt_tokens,
            context=fault.context,
            asked=max_tokens,
            sent=sent,
        )
        if overflow is not None:
            return _overflow_error(overflow, said, server, model, status, max_tokens)
    if status == 404 or fault.code == "model_not_found":
        return _not_found(fault, server, model, status)
    if status >= 400 and status not in RETRIED_STATUSES and _UNREADABLE_CALL.search(f"{fault.code} {said}"):
        return UnreadableCall(
            f"{server} could not read a tool call of the model's own ({status}): {said}", status=status
        )
    if status in RETRIED_STATUSES or status >= 500:
        overloaded = ServerOverloaded(f"{server} answered {status}: {said}", status=status)
        overloaded.reason = f"{status}: {said}"
        return overloaded
    if status in (401, 403):
        return BadRequest(
            f"{server} refused the API key ({status}): {said}; pass a valid api_key", status=status
        )
    if status in range(300, 400):
        return BadRequest(
            f"{server} answered {status}, a redirect; pass the final address as base_url", status=status
        )
    return BadRequest(f"{server} refused the request ({status}): {said}", status=status)


def never_fits(max_tokens: int | None, context: int | None, *, server: str, model: str) -> str | None:
    """Why a request for so many tokens fits with no prompt at all; None: some prompt leaves room for it."""
    if max_tokens is None or context is None or max_tokens < context:
        return None
    return (
        f"sampling.max_tokens is {max_tokens}, but the context of {model or 'the model'} at {server} holds "
        f"{context} tokens, prompt and reply together: set it lower"
    )


def _overflow_error(
    overflow: Overflow, said: str, server: str, model: str, status: int, max_tokens: int | None
) -> InferenceError:
    if overflow.misfit is Misfit.MAX_TOKENS:
        reason = never_fits(max_tokens, overflow.context, server=server, model=model)
        return BadRequest(f"{reason} ({said})", status=status)
    if overflow.misfit is Misfit.PROMPT:
        return ContextOverflow(
            f"the prompt is too long for {model or 'the model'} at {server}: {said}", status=status
        )
    error = ContextOverflow(
        f"prompt and max_tokens together are too long for {model or 'the model'} at {server}: {said}",
        status=status,
    )
    error.fits, error.left = True, overflow.left
    return error


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
    error = ServerUnreachable(
        f"no server at {server} ({one_line(reason)}); start one with 'rollway serve' or 'vllm serve MODEL', "
        "or pass the base_url of a running one"
    )
    error.reason = one_line(reason)
    return error
