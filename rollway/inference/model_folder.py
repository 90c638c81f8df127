"""What a model folder says about its tokenizer: the files, the special tokens' texts, the tokens that end a
reply.

Every reader of a folder reads these files here, so that all of them agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollway.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read_json_file(path: Path) -> dict[str, Any]:
    """The JSON object in a file; nothing where there is no such file.

    Raises:
        UserError: it is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return content


def load_tokenizer(folder: Path) -> Tokenizer:
    """The folder's ``tokenizer.json``.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{folder} has no tokenizer.json; pass the model's own folder")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust binding raises no narrower type
        raise UserError(f"{path} is not a tokenizer: {error}") from None


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json``."""
    return read_json_file(folder / "tokenizer_config.json")


def special_token_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """``bos_token``, ``eos_token`` and the like, which templates write out by name."""
    texts = {}
    for name, value in settings.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            texts[name] = text
    return texts


def end_tokens(folder: Path) -> tuple[str | None, list[int]]:
    """What ends a reply: the tokenizer's end token as it is spelled, and the ids that the model's files name.

    ``generation_config.json`` stands over ``config.json``, as servers have it.
    """
    ids: list[int] = []
    for file in ("generation_config.json", "config.json"):
        value = read_json_file(folder / file).get("eos_token_id")
        if value is not None:
            ids = list(value) if isinstance(value, list) else [value]
            break
    return special_token_texts(tokenizer_settings(folder)).get("eos_token"), ids


def stop_token_ids(folder: Path, tokenizer: Tokenizer) -> frozenset[int]:
    """The ids at which servers end a reply."""
    spelled, ids = end_tokens(folder)
    own = None if spelled is None else tokenizer.token_to_id(spelled)
    return frozenset(ids if own is None else [*ids, own])


def folder_stops(folder: Path) -> frozenset[int]:
    """`stop_token_ids` of a folder that is not open yet.

    Raises:
        UserError: it has no tokenizer, or it cannot be read.
    """
    return stop_token_ids(folder, load_tokenizer(folder))
