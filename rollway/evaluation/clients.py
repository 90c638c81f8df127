"""From the configuration to a client of the model's server, and to what its ids mean."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rollway.errors import UserError
from rollway.evaluation.config import EvalConfig, ModelConfig
from rollway.evaluation.server_wait import once_there
from rollway.inference import (
    ChatClient,
    InferenceError,
    OpenAIClient,
    ServerOverloaded,
    ServerUnreachable,
    TokenClient,
)
from rollway.inference.faults import never_fits
from rollway.sequences import Decode

if TYPE_CHECKING:
    from rollway.inference.folder_tokenizer import FolderTokenizer


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
        raise UserError(f"model.api_key_env: the environment variable {name} is not set; export it")
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
            renderer=model.renderer,
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
    return ChatClient(model.base_url or "", model.name or "", api_key, folder=model.folder, **options)


def open_decode(model: ModelConfig) -> Decode | None:
    """What turns the ids of chat mode into text, where the model's folder is on this machine.

    The tokenizer is read when the first prompt departs from what was sampled: most runs never need it, and
    reading one takes up to a second.
    """
    if model.backend == "token" or model.folder is None:
        return None  # in token mode the client itself knows how its prompts follow
    folder = Path(model.folder).expanduser()
    return _LateDecode(folder) if (folder / "tokenizer.json").is_file() else None


class _LateDecode:
    """`FolderTokenizer.decode` of a folder that is not read before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)

    @cached_property
    def _tokenizer(self) -> FolderTokenizer:
        from rollway.inference.folder_tokenizer import FolderTokenizer

        return FolderTokenizer(self._folder)


ANSWER_SECONDS = 30.0
"""How long a server may take to say what its prompts hold."""


async def dropped_tools(config: EvalConfig, api_key: str | None) -> str | None:
    """What is to be said where the model would not be shown the tools of a request; None: it is, or nobody
    knows. ``model.name`` must be filled in."""
    if config.tools_in_prompt is not None:
        return None
    client = open_client(config, api_key)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            if isinstance(client, OpenAIClient) or await client.shows_tools() is not False:
                return None
    except (InferenceError, TimeoutError):
        return None  # the run itself will tell
    finally:
        await client.close()
    return (
        f"the chat template of {config.model.name} leaves out tools: the model will see none of them; set "
        f"tools_in_prompt to a format in whose words the prompt is to tell them, such as hermes"
    )


def _say_nothing(line: str) -> None:
    """For `check_server`, where nobody reads what it waits for."""


async def check_server(
    config: EvalConfig, api_key: str | None, *, tell: Callable[[str], None] = _say_nothing, hint: str = ""
) -> ModelConfig:
    """Ask the server whether it is there, and return the configuration's model with its name filled in, and
    in chat mode with its folder, where the server names one that is on this machine.

    A server that is not there yet is waited for as long as ``model.wait_for_server`` says.

    Args:
        tell: gets a line when the waiting begins, and one when it is over.
        hint: how to ask for that; stands behind the complaint that nobody answers.

    Raises:
        UserError: nobody answers, it does not serve the model, ``model.folder`` is no model folder, or
            ``sampling.max_tokens`` is more than the model's context holds.
    """
    _check_folder(config.model)
    client = open_client(config, api_key)
    seconds = config.model.wait_for_server
    try:
        await once_there(client.check, server=client.server, seconds=seconds, tell=tell)
        _check_budget(config, client)
        found: dict[str, Any] = {"name": client.model}
        if isinstance(client, ChatClient) and config.model.folder is None and client.folder is not None:
            found["folder"] = str(client.folder)
        return msgspec.structs.replace(config.model, **found)
    except InferenceError as error:
        waitable = isinstance(error, (ServerUnreachable, ServerOverloaded)) and seconds is None
        raise UserError(f"{error}{hint if waitable else ''}") from None
    finally:
        await client.close()


def _check_budget(config: EvalConfig, client: ChatClient | TokenClient | OpenAIClient) -> None:
    asked = config.sampling.max_tokens
    reason = never_fits(asked, client.context, server=client.server, model=client.model)
    if reason is not None:
        raise UserError(reason)


def _check_folder(model: ModelConfig) -> None:
    if model.backend == "token" or model.folder is None:
        return  # the token client says itself what its folder lacks
    if not (Path(model.folder).expanduser() / "tokenizer.json").is_file():
        raise UserError(
            f"model.folder: {model.folder} has no tokenizer.json; set it to the model's own folder"
        )
