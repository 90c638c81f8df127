"""A Hugging Face folder of a Qwen3-architecture model, read into float32 arrays that NumPy multiplies fast.

Nothing here computes. Every matrix is C-contiguous with shape (in, out): with that layout a row of a product
does not depend on how many other rows are multiplied with it, which the engine relies on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rollway.errors import UserError

Array = NDArray[np.float32]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes of the model, from ``config.json``."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int  # query heads
    kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    max_positions: int  # tokens of prompt and completion together
    tied_embeddings: bool


class LayerWeights(msgspec.Struct, frozen=True):
    """One decoder layer. The weights of the norms before attention and MLP are folded into the matrices."""

    qkv: Array  # (hidden, (heads + 2 * kv_heads) * head_dim)
    head_norm: Array  # (heads + kv_heads, head_dim): weights of the q and k norms, q's times head_dim ** -0.5
    out: Array  # (heads * head_dim, hidden)
    gate_up: Array  # (hidden, 2 * intermediate)
    down: Array  # (intermediate, hidden)


class Weights(msgspec.Struct, frozen=True):
    """All parameters. The last RMSNorm's weights are folded into ``unembed``."""

    config: ModelConfig
    embed: Array  # (vocab, hidden)
    layers: list[LayerWeights]
    unembed: Array  # (hidden, vocab)


def load_weights(folder: Path) -> Weights:
    """Read ``config.json`` and every ``*.safetensors`` of a folder.

    Raises:
        UserError: a file or a tensor is missing, or the model is none that this server can run.
    """
    config = read_config(folder)
    tensors: dict[str, Array] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(read_safetensors(path))
    if not tensors:
        raise UserError(f"{folder} has no *.safetensors file, so it is not a model folder")
    try:
        return _assemble(config, tensors)
    except KeyError as missing:
        raise UserError(f"{folder} lacks the tensor {missing}, so it is not a complete Qwen3 model") from None


def read_config(folder: Path) -> ModelConfig:
    """The shapes in ``config.json``.

    Raises:
        UserError: there is no such file, or it describes another architecture.
    """
    raw = read_json(folder / "config.json")
    _refuse_what_is_not_run(folder, raw)
    rope = raw.get("rope_parameters") or {}
    try:
        return ModelConfig(
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            intermediate_size=raw["intermediate_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            kv_heads=raw["num_key_value_heads"],
            head_dim=raw["head_dim"],
            rms_norm_eps=raw["rms_norm_eps"],
            rope_theta=float(raw.get("rope_theta") or rope["rope_theta"]),
            max_positions=raw["max_position_embeddings"],
            tied_embeddings=raw.get("tie_word_embeddings", False),
        )
    except KeyError as missing:
        raise UserError(f"{folder / 'config.json'} lacks the field {missing}") from None


def _refuse_what_is_not_run(folder: Path, raw: dict[str, Any]) -> None:
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    refused = {
        f"model_type {raw.get('model_type')!r}": raw.get("model_type") != "qwen3",
        "attention_bias": bool(raw.get("attention_bias")),
        "use_sliding_window": bool(raw.get("use_sliding_window")),
        "quantization_config": "quantization_config" in raw,
        "scaled RoPE": rope.get("rope_type", "default") != "default",
        f"hidden_act {raw.get('hidden_act')!r}": raw.get("hidden_act") != "silu",
    }
    for what, present in refused.items():
        if present:
            raise UserError(
                f"{folder / 'config.json'}: {what} is not supported; the embedded server runs "
                f"plain Qwen3 models (serve others with vLLM)"
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: the file is missing or holds none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} has no {path.name}, so it is not a model folder") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return value


def read_safetensors(path: Path) -> dict[str, Array]:
    """Every tensor of a safetensors file, as float32.

    The format is eight bytes with the length of a JSON header, the header, and raw little-endian data.

    Raises:
        UserError: the file is torn, or holds a type other than BF16, F16 and F32.
    """
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        raise UserError(f"{path} is not a safetensors file: its header is not JSON") from None
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[8 + size + begin : 8 + size + end]
        if len(raw) != end - begin:
            raise UserError(f"{path} is truncated: tensor {name!r} is incomplete")
        tensors[name] = _decode(raw, entry["dtype"], path).reshape(entry["shape"])
    return tensors


def _decode(raw: bytes, dtype: str, path: Path) -> Array:
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype == "F16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    if dtype == "F32":
        return np.frombuffer(raw, "<f4").astype(np.float32)
    raise UserError(f"{path}: tensors of type {dtype} are not supported (BF16, F16 and F32 are)")


def _assemble(config: ModelConfig, tensors: dict[str, Array]) -> Weights:
    embed = tensors["model.embed_tokens.weight"]
    head = embed if config.tied_embeddings else tensors["lm_head.weight"]
    return Weights(
        config=config,
        embed=np.ascontiguousarray(embed),
        layers=[_layer(config, tensors, f"model.layers.{index}.") for index in range(config.layers)],
        unembed=np.ascontiguousarray((head * tensors["model.norm.weight"]).T),
    )


def _layer(config: ModelConfig, tensors: dict[str, Array], prefix: str) -> LayerWeights:
    def get(name: str) -> Array:
        return tensors[f"{prefix}{name}.weight"]

    qkv = np.concatenate([get("self_attn.q_proj"), get("self_attn.k_proj"), get("self_attn.v_proj")])
    gate_up = np.concatenate([get("mlp.gate_proj"), get("mlp.up_proj")])
    queries = np.tile(get("self_attn.q_norm") * np.float32(config.head_dim**-0.5), (config.heads, 1))
    keys = np.tile(get("self_attn.k_norm"), (config.kv_heads, 1))
    return LayerWeights(
        qkv=np.ascontiguousarray((qkv * get("input_layernorm")).T),
        head_norm=np.concatenate([queries, keys]),
        out=np.ascontiguousarray(get("self_attn.o_proj").T),
        gate_up=np.ascontiguousarray((gate_up * get("post_attention_layernorm")).T),
        down=np.ascontiguousarray(get("mlp.down_proj").T),
    )
