"""Talking to model servers: one protocol, several clients, typed errors."""

from rollway.inference.chat_client import ChatClient
from rollway.inference.errors import (
    BadRequest,
    ContextOverflow,
    InferenceError,
    InvalidReply,
    ModelNotFound,
    NoReplyInTime,
    ServerOverloaded,
    ServerUnreachable,
)
from rollway.inference.openai_client import OpenAIClient
from rollway.inference.protocol import Client, Completion, CompletionRequest, Sampling
from rollway.inference.retry import RetryPolicy
from rollway.inference.token_client import TokenClient
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
    "NoReplyInTime",
    "OpenAIClient",
    "RetryPolicy",
    "Sampling",
    "ServerOverloaded",
    "ServerUnreachable",
    "Timeouts",
    "TokenClient",
]
