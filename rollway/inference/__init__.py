"""Talking to model servers: one protocol, several clients, typed errors.

The clients are imported when they are first named: whoever needs only the records and the errors does not pay
for an HTTP library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rollway.inference.errors import (
    BadRequest,
    ContextOverflow,
    InferenceError,
    InvalidReply,
    ModelNotFound,
    ServerOverloaded,
    ServerUnreachable,
)
from rollway.inference.protocol import Client, Completion, CompletionRequest, Sampling

if TYPE_CHECKING:
    from rollway.inference.chat_client import ChatClient
    from rollway.inference.openai_client import OpenAIClient
    from rollway.inference.retry import RetryPolicy
    from rollway.inference.transport import Timeouts

__all__ = [
    "BadRequest",
    "ChatClient",
    "Client",
    "Completion",
    "CompletionRequest",
    "ContextOverflow",
    "InferenceError",
    "InvalidReply",
    "ModelNotFound",
    "OpenAIClient",
    "RetryPolicy",
    "Sampling",
    "ServerOverloaded",
    "ServerUnreachable",
    "Timeouts",
]

_LATE = {
    "ChatClient": "rollway.inference.chat_client",
    "OpenAIClient": "rollway.inference.openai_client",
    "RetryPolicy": "rollway.inference.retry",
    "Timeouts": "rollway.inference.transport",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
