"""Which weights a server serves, as far as it says so: what a run is compared with when it goes on.

The invariant: what the server does not say is None, and whatever goes wrong while asking is no fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rollway.data.fingerprint import fingerprint
from rollway.inference.errors import InferenceError
from rollway.inference.served_models import ServedModel, read_models, served_context, served_folder
from rollway.inference.transport import Timeouts, Transport, json_headers, split_base_url
from rollway.inference.tries import TryFailed
from rollway.stored.identity import Served

INFO_PATHS = ("/model_info", "/get_model_info")
"""Where SGLang tells its weights' version, by its newer name and by its older one."""

_TIMES = Timeouts(connect=10.0, total=10.0)
_MODEL_FILES = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth", "*.npz", "*.json", "*.jinja", "*.model")
_NO_INFO = ("vllm", "llamacpp")  # servers that are known to have no such page


class _ModelInfo(msgspec.Struct):
    model_path: Any = None
    weight_version: Any = None


async def ask_served(base_url: str, model: str, api_key: str | None) -> Served:
    """What the server says of ``model``."""
    server, api = split_base_url(base_url)
    transport = Transport(server, headers=json_headers(api_key), timeouts=_TIMES, max_connections=1)
    try:
        listed = await _listed(transport, f"{api}/models")
        entry = next((one for one in listed if one.id == model), None)
        if entry is not None and entry.owned_by in _NO_INFO:
            info = _ModelInfo()
        else:
            info = await _info(transport)
    finally:
        await transport.close()
    folder = served_folder(model, listed)
    return Served(
        id=model,
        root=_text(info.model_path) or (_text(entry.root) if entry is not None else None),
        max_model_len=served_context(model, listed),
        weight_version=_text(entry.weight_version if entry is not None else None)
        or _text(info.weight_version),
        folder=None if folder is None else folder_digest(folder),
    )


def folder_digest(folder: Path) -> str | None:
    """A digest of a model's weights, configuration and tokenizer; ``None``: they cannot be read."""
    try:
        files = {file.name: file for pattern in _MODEL_FILES for file in folder.glob(pattern)}
        return fingerprint(files) if files else None
    except OSError:
        return None


async def _listed(transport: Transport, path: str) -> list[ServedModel]:
    try:
        reply = await transport.get(path, _TIMES)
        return read_models(reply.body, server=transport.server) if reply.status == 200 else []
    except (TryFailed, InferenceError):
        return []


async def _info(transport: Transport) -> _ModelInfo:
    for path in INFO_PATHS:
        try:
            reply = await transport.get(path, _TIMES)
            if reply.status == 200:
                return msgspec.json.decode(reply.body, type=_ModelInfo)
        except (TryFailed, msgspec.DecodeError, UnicodeDecodeError):
            continue
    return _ModelInfo()


def _text(value: Any) -> str | None:
    is_name = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return str(value) if is_name else None
