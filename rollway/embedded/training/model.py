"""The policy's architecture, and how its folder is written.

It is transformers' own Qwen3ForCausalLM, so whatever serves Qwen3 serves the folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from rollway.embedded.training.tokenizer import END, END_OF_TEXT, VOCABULARY, save_tokenizer, token_id

CONTEXT = 2048
ROPE_THETA = 10000.0


def build_model(tokenizer: Tokenizer, seed: int) -> Any:
    """A Qwen3ForCausalLM of 935,936 parameters with random weights.

    head_dim is 32 because vLLM's CPU attention takes no smaller one.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    end, padding = token_id(tokenizer, END), token_id(tokenizer, END_OF_TEXT)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        use_cache=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=padding,
    )
    return Qwen3ForCausalLM(config)


def save_policy(model: Any, tokenizer: Tokenizer, template: str, folder: Path) -> None:
    """Write a Hugging Face folder, weights in bfloat16."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    del weights["lm_head.weight"]  # tied to the embeddings
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(tokenizer, folder, context=CONTEXT)
    _write_json(folder / "config.json", _config(model.config))
    stops = [model.config.eos_token_id, model.config.pad_token_id]
    generation = {"do_sample": True, "temperature": 1.0, "eos_token_id": stops, "pad_token_id": stops[1]}
    _write_json(folder / "generation_config.json", generation)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _config(config: Any) -> dict[str, Any]:
    """The keys that every version of transformers and every server reads."""
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "hidden_act",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
        "attention_bias",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    )
    head = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16"}
    return head | {name: getattr(config, name) for name in names} | {"rope_theta": ROPE_THETA}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
