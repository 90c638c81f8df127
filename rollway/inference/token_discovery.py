"""What a token client has to know before its first request: the model's name, its folder, the open endpoint.

Faults are `TryFailed`, so that finding out is tried again as the request itself would be.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rollway.inference.errors import BadRequest, InferenceError
from rollway.inference.faults import failed_try
from rollway.inference.llama_prompts import rendered_ids
from rollway.inference.prompt_writer import Writer
from rollway.inference.protocol import CompletionRequest
from rollway.inference.served_models import (
    ServedModel,
    choose_model,
    read_models,
    served_context,
    served_folder,
)
from rollway.inference.token_endpoints import COMPLETIONS, ENDPOINTS, TokenEndpoint
from rollway.inference.transport import Timeouts, Transport
from rollway.inference.tries import TryFailed
from rollway.trajectory import Message

AUTO = "auto"

_log = logging.getLogger(__name__)

_HELLO: Message = {"role": "user", "content": "What is 2 + 3?"}
_TIMES = Timeouts(connect=30.0, total=30.0)
_CLOSED = frozenset({403, 404, 405, 501})
"""What servers answer where they do not open an endpoint."""


class ServedFolder(msgspec.Struct, frozen=True):
    """The model to ask for."""

    name: str
    folder: Path
    context: int | None  # tokens of prompt and completion together; None: not known


async def find_model(
    transport: Transport, api: str, name: str, folder: Path | None, *, need_context: bool
) -> ServedFolder:
    """The name to ask for and the model's folder, each as given or as the server says.

    Args:
        api: path of the server's OpenAI API, such as ``/v1``.
        name: "" takes the only model.
        folder: None takes the one that the server names, where that is on this machine.
        need_context: ask for the context's length too.

    Raises:
        TryFailed: the server does not say what is not given.
    """
    if name and folder is not None and not need_context:
        return ServedFolder(name, folder, None)
    reply = await transport.get(f"{api}/models", _TIMES)
    if reply.status == 404 and name and folder is not None:
        return ServedFolder(name, folder, None)
    if not 200 <= reply.status < 300:
        raise failed_try(reply.status, reply.body, reply.headers, server=transport.server)
    try:
        served = read_models(reply.body, server=transport.server)
        name = choose_model(name, [model.id for model in served], server=transport.server)
    except InferenceError as error:
        raise TryFailed(error, retry=False) from error
    context = served_context(name, served)
    return ServedFolder(name, folder or _local_folder(served, name, transport.server), context)


def _local_folder(served: Sequence[ServedModel], name: str, server: str) -> Path:
    """Where the server says that its model lies."""
    folder = served_folder(name, served)
    if folder is not None:
        return folder
    root = next((model.root for model in served if model.id == name), None)
    named = f"it reports {root!r}, which is not a local folder" if root else "it reports no folder"
    missing = f"cannot tell the model's folder from {server} ({named}); pass folder="
    raise TryFailed(BadRequest(missing), retry=False)


async def find_endpoint(transport: Transport, asked: str) -> TokenEndpoint:
    """The endpoint of that name, or (`AUTO`) the first that the server opens.

    An empty request is a bad one where an endpoint is open, and goes nowhere where it is not.

    Raises:
        TryFailed: the server does not say.
    """
    if asked != AUTO:
        return ENDPOINTS[asked]
    for endpoint in ENDPOINTS.values():
        if endpoint is COMPLETIONS:
            break  # the last one: its own answer to the first request says what is wrong
        reply = await transport.post(endpoint.path, b"{}", {})
        if reply.status in (401, 408, 409, 429) or (reply.status >= 500 and reply.status not in _CLOSED):
            raise failed_try(reply.status, reply.body, reply.headers, server=transport.server)
        if reply.status not in _CLOSED:
            return endpoint
    return COMPLETIONS


async def refuse_closed(transport: Transport, endpoint: TokenEndpoint, api: str) -> None:
    """Find out before the first request whether the server opens an endpoint that was named, or was left.

    Raises:
        TryFailed: it does not, or cannot be reached.
    """
    path = endpoint.path.format(api=api)
    reply = await transport.post(path, b"{}", {})
    if reply.status in _CLOSED:
        closed = (
            f"{transport.server} does not serve {path} (it answers {reply.status}); choose another endpoint"
        )
        raise TryFailed(BadRequest(f"{closed}: {AUTO}, {', '.join(ENDPOINTS)}"), retry=False)


class _Tokenized(msgspec.Struct):
    tokens: list[int]


async def compare_prompt(
    transport: Transport, model: str, writer: Writer, variables: Mapping[str, Any]
) -> bool | None:
    """Whether the server makes the ids of a first prompt as ``writer`` does; None where it does not tell.

    A difference is told in the log: the folder is hardly the one that is served.

    Raises:
        TryFailed: the server cannot be reached.
    """
    body = {"model": model, "messages": [_HELLO], "chat_template_kwargs": dict(variables)}
    reply = await transport.post("/tokenize", msgspec.json.encode(body), {})
    if reply.status != 200:
        return None
    try:
        theirs = msgspec.json.decode(reply.body, type=_Tokenized).tokens
    except msgspec.DecodeError:
        return None
    if not theirs:  # llama.cpp reads texts there, and has an endpoint of its own for messages
        theirs = await rendered_ids(transport, msgspec.json.encode(body)) or []
    if not theirs:
        return None
    ours = writer.write(CompletionRequest(messages=[_HELLO]), frozenset()).token_ids
    if ours != theirs:
        _log.warning(
            "%s turns %r into %d ids, but the template and tokenizer of %s make %d different ids; check that "
            "this is the folder of the served model",
            transport.server,
            _HELLO["content"],
            len(theirs),
            writer.folder,
            len(ours),
        )
    return ours == theirs
