"""Which model to ask for: the given name must be served, and no name needs none where only one is served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rollway.inference.errors import InvalidReply, ModelNotFound
from rollway.inference.faults import model_not_found, name_list


class ServedModel(msgspec.Struct):
    """One entry of a server's list."""

    id: str
    root: Any = None  # where its files lie, as vLLM says it: a folder, or a name on a hub
    max_model_len: Any = None  # tokens of prompt and completion together
    weight_version: Any = None  # of servers whose weights are updated while they serve
    owned_by: Any = None  # which server it is: "vllm", "sglang", "llamacpp"


class _ModelList(msgspec.Struct):
    data: list[ServedModel]


_DECODER = msgspec.json.Decoder(_ModelList)


def read_models(body: bytes, *, server: str) -> list[ServedModel]:
    """The entries of an answer to ``GET /v1/models``.

    Raises:
        InvalidReply: it is no list of models.
    """
    try:
        return _DECODER.decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidReply(
            f"{server} is not an OpenAI-compatible server: cannot read its list of models ({error})"
        ) from error


def choose_model(model: str, served: Sequence[str], *, server: str) -> str:
    """The name to ask for: ``model`` where it is served, the only one where none is given.

    Raises:
        ModelNotFound: it is not served, or none is given and there is not exactly one.
    """
    if model:
        if _is_served(model, served):
            return model
        raise model_not_found(server, model, served)
    if len(served) == 1:
        return served[0]
    if not served:
        raise ModelNotFound(f"{server} lists no model; pass model=")
    raise ModelNotFound(f"{server} serves {len(served)} models; choose one with model=: {name_list(served)}")


def served_folder(model: str, served: Sequence[ServedModel]) -> Path | None:
    """Where the server says that ``model`` lies, if that is a folder of this machine."""
    root = next((entry.root for entry in served if entry.id == model), None)
    return Path(root) if isinstance(root, str) and root and Path(root).is_dir() else None


def served_context(model: str, served: Sequence[ServedModel]) -> int | None:
    """Tokens of prompt and completion together, where the server lists them."""
    context = next((entry.max_model_len for entry in served if entry.id == model), None)
    return context if type(context) is int and context > 0 else None


def served_by_llama_cpp(served: Sequence[ServedModel]) -> bool:
    """Whether the list is one of llama.cpp's server."""
    return any(entry.owned_by == "llamacpp" for entry in served)


def _is_served(model: str, served: Sequence[str]) -> bool:
    # Ollama lists "name:latest" for "name"; OpenRouter lists "name" for "name:nitro".
    return model in served or f"{model}:latest" in served or model.rpartition(":")[0] in served
