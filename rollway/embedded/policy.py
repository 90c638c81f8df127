"""A policy: a model folder by name or by path, loaded and ready to be served."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rollway.embedded.model import Model
from rollway.embedded.tokenizer import Tokenizer
from rollway.embedded.weights import load_weights, read_json
from rollway.errors import UserError, nearest
from rollway.inference.chat_template import ChatTemplate

_SHIPPED = Path(__file__).parent / "policies"


class SamplingDefaults(msgspec.Struct, frozen=True):
    """What a request that says nothing is sampled with: the folder's ``generation_config.json``, or these."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class Policy(msgspec.Struct, frozen=True):
    """A loaded model folder."""

    name: str  # under which it is served
    folder: Path
    model: Model
    tokenizer: Tokenizer
    template: ChatTemplate
    defaults: SamplingDefaults


def list_policies() -> list[str]:
    """Names of the policies that come with the project."""
    return sorted(path.parent.name for path in _SHIPPED.glob("*/config.json"))


def find_policy(name_or_path: str) -> Path:
    """The folder of a shipped policy, or the given folder.

    Raises:
        UserError: it is neither; the message names a policy that is near.
    """
    shipped = list_policies()
    if name_or_path in shipped:
        return _SHIPPED / name_or_path
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder.resolve()
    raise UserError(
        f"unknown policy {name_or_path!r}{nearest(name_or_path, shipped)}; use one of "
        f"{', '.join(shipped) or '(none is installed)'}, or a model folder"
    )


def load_policy(folder: Path, *, name: str | None = None) -> Policy:
    """Read a model folder.

    Raises:
        UserError: the folder is no Qwen3 model folder that this server can run.
    """
    path = folder / "generation_config.json"
    raw = read_json(path) if path.is_file() else {}
    stated = {field: raw[field] for field in SamplingDefaults.__struct_fields__ if raw.get(field) is not None}
    return Policy(
        name=name or folder.name,
        folder=folder,
        model=Model(load_weights(folder)),
        tokenizer=Tokenizer(folder),
        template=ChatTemplate(folder),
        defaults=SamplingDefaults(**stated),
    )
