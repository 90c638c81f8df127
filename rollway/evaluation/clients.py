"""From the configuration to a client of the model's server."""

from __future__ import annotations

import os
from typing import Any

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig
from rollway.inference import ChatClient, InferenceError, OpenAIClient, TokenClient


def read_api_key(config: EvalConfig) -> str | None:
    """The key that ``model.api_key_env`` points to.

    Raises:
        UserError: that environment variable is not set.
    """
    name = config.model.api_key_env
    if name is None:
        return None
    key = os.environ.get(name)
    if not key:
        raise UserError(f"model.api_key_env: the environment variable {name} is not set; export it first")
    return key


def open_client(config: EvalConfig, api_key: str | None) -> ChatClient | TokenClient | OpenAIClient:
    """A client for the loop that is running. ``model.base_url`` must be filled in by now."""
    model = config.model
    if model.backend == "token":
        return TokenClient(
            model.base_url or "",
            model.name or "",
            model.folder,
            api_key,
            endpoint=model.endpoint,
            on_mismatch=model.on_mismatch,
            retry=model.retry,
            timeouts=model.timeouts,
        )
    options: dict[str, Any] = {
        "require_token_data": model.require_token_data,
        "retry": model.retry,
        "timeouts": model.timeouts,
    }
    for option, value in (
        ("return_token_ids", model.token_ids),
        ("logprobs", model.logprobs),
        ("history_reasoning", model.history_reasoning),
        ("max_tokens_field", model.max_tokens_field),
    ):
        if value is not None:
            options[option] = value
    if model.backend == "openai":
        return OpenAIClient(model.name or "", api_key, model.base_url, **options)
    return ChatClient(model.base_url or "", model.name or "", api_key, **options)


async def check_server(config: EvalConfig, api_key: str | None) -> str:
    """Ask the server whether it is there, and return the name of the model to ask it for.

    Raises:
        UserError: nobody answers, or it does not serve the model.
    """
    client = open_client(config, api_key)
    try:
        await client.check()
        return client.model
    except InferenceError as error:
        raise UserError(str(error)) from None
    finally:
        await client.close()
