"""The NumPy model computes what transformers computes, and a row does not depend on its batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rollway.embedded.kv_cache import KVCache
from rollway.embedded.model import Batch, Model, Segment
from rollway.embedded.policy import Policy, find_policy
from rollway.embedded.weights import Weights, load_weights

TOLERANCE = 1e-4


def prefill(model: Model, cache: KVCache, ids: NDArray[np.int64], slot: int, start: int = 0) -> Any:
    """Logits of all tokens of a prompt, computed at once."""
    cache.ensure(start + len(ids), slot + 1)
    rows = np.arange(len(ids))
    return model.forward(Batch(ids, start + rows, 0, [Segment(slot, start, slice(0, len(ids)))], rows), cache)


def decode(model: Model, cache: KVCache, tokens: list[int], positions: list[int]) -> Any:
    """Logits of one token for each of the first slots."""
    cache.ensure(max(positions) + 1, len(tokens))
    rows = np.arange(len(tokens))
    return model.forward(Batch(np.array(tokens), np.array(positions), len(tokens), [], rows), cache)


def reference_logits(weights: Weights, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """The model written down plainly: one sequence, float64, no cache, heads and positions in loops."""
    config = weights.config
    half = config.head_dim // 2
    angles = np.outer(np.arange(len(ids)), config.rope_theta ** (-np.arange(half) / half))
    cos, sin = np.cos(angles), np.sin(angles)

    def norm(rows: Any) -> Any:
        return rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True) + config.rms_norm_eps)

    def turn(head: Any) -> Any:
        first, second = head[:, :half], head[:, half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=1)

    hidden = weights.embed[ids].astype(np.float64)
    for layer in weights.layers:
        heads = (norm(hidden) @ layer.qkv).reshape(len(ids), -1, config.head_dim)
        mixed = []
        for index in range(config.heads):
            group = index // (config.heads // config.kv_heads)
            key = config.heads + group
            query = turn(norm(heads[:, index]) * layer.head_norm[index])
            scores = query @ turn(norm(heads[:, key]) * layer.head_norm[key]).T
            scores[np.triu_indices(len(ids), 1)] = -np.inf
            weight = np.exp(scores - scores.max(axis=1, keepdims=True))
            weight /= weight.sum(axis=1, keepdims=True)
            mixed.append(weight @ heads[:, key + config.kv_heads])
        hidden = hidden + np.concatenate(mixed, axis=1) @ layer.out
        gate, up = np.split(norm(hidden) @ layer.gate_up, 2, axis=1)
        hidden = hidden + (gate / (1 + np.exp(-gate)) * up) @ layer.down
    logits: NDArray[np.float64] = norm(hidden) @ weights.unembed
    return logits


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 255, 256, 257, 600])
def test_logits_are_those_of_the_model_written_down_plainly(
    policy: Policy, ids: NDArray[np.int64], length: int
) -> None:
    model = policy.model
    ours = prefill(model, KVCache(model.config, slots=1, max_length=1024), ids[:length], 0)
    np.testing.assert_allclose(ours, reference_logits(model.weights, ids[:length]), atol=TOLERANCE)


@pytest.fixture
def ids(policy: Policy) -> NDArray[np.int64]:
    return np.random.default_rng(5).integers(0, policy.model.config.vocab_size, 700)


@pytest.mark.parametrize("chunk", [1, 7, 64, 300])
def test_a_prompt_in_chunks_equals_the_prompt_at_once(
    policy: Policy, ids: NDArray[np.int64], chunk: int
) -> None:
    model, ids = policy.model, ids[: 60 if chunk == 1 else 700]
    whole = prefill(model, KVCache(model.config, slots=1, max_length=1024), ids, 0)
    cache = KVCache(model.config, slots=1, max_length=1024)
    parts = [prefill(model, cache, ids[at : at + chunk], 0, at) for at in range(0, len(ids), chunk)]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=TOLERANCE)


def test_decoding_equals_prefilling_whatever_else_is_in_the_batch(
    policy: Policy, ids: NDArray[np.int64]
) -> None:
    model = policy.model
    lengths = [3, 40, 17, 255, 256, 257, 600]
    cache = KVCache(model.config, slots=8, max_length=1024)
    for slot, length in enumerate(lengths):
        prefill(model, cache, ids[: length - 1], slot)
    together = decode(model, cache, [int(ids[n - 1]) for n in lengths], [n - 1 for n in lengths])
    for slot, length in enumerate(lengths):
        alone = prefill(model, KVCache(model.config, slots=1, max_length=1024), ids[:length], 0)
        np.testing.assert_allclose(together[slot], alone[-1], atol=TOLERANCE)


def test_a_slot_that_is_moved_or_stored_and_written_back_goes_on_the_same(
    policy: Policy, ids: NDArray[np.int64]
) -> None:
    model = policy.model
    cache = KVCache(model.config, slots=4, max_length=1024)
    prefill(model, cache, ids[:50], 2)
    cache.copy(2, 0, 50)
    cache.write(1, cache.read(2, 50), 50)
    logits = decode(model, cache, [int(ids[50])] * 3, [50] * 3)
    np.testing.assert_allclose(logits[1:], np.repeat(logits[:1], 2, axis=0), atol=TOLERANCE)


def test_growing_the_cache_keeps_what_is_in_it(policy: Policy, ids: NDArray[np.int64]) -> None:
    model = policy.model
    cache = KVCache(model.config, slots=2, max_length=1024)
    prefill(model, cache, ids[:100], 1)
    before, capacity = cache.read(1, 100), cache.capacity
    cache.ensure(capacity + 1, 2)
    assert capacity < cache.capacity <= 1024
    for old, new in zip(before, cache.read(1, 100), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["random", "untied", "calculator", "calculator-weak"])
def test_logits_and_greedy_tokens_agree_with_transformers(
    name: str, policy_folder: Path, tmp_path: Path, make_policy_folder: Callable[..., Path]
) -> None:
    import torch
    from transformers import Qwen3ForCausalLM

    if name == "untied":
        folder = make_policy_folder(tmp_path, num_key_value_heads=4, seed=3)
    else:
        folder = policy_folder if name == "random" else find_policy(name)
    model = Model(load_weights(folder))
    reference = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rng = np.random.default_rng(2)
    for length in (1, 2, 30, 500):
        ids = rng.integers(0, model.config.vocab_size, length)
        with torch.no_grad():
            expected = reference(torch.tensor(ids[None])).logits[0].numpy()
        ours = prefill(model, KVCache(model.config, slots=1, max_length=1024), ids, 0)
        np.testing.assert_allclose(ours, expected, atol=TOLERANCE)
    assert greedy(model, ids[:30].tolist(), 40) == greedy_reference(reference, ids[:30].tolist(), 40)


def greedy(model: Model, prompt: list[int], count: int) -> list[int]:
    cache = KVCache(model.config, slots=1, max_length=1024)
    tokens = [*prompt, int(prefill(model, cache, np.array(prompt), 0)[-1].argmax())]
    while len(tokens) < len(prompt) + count:
        tokens.append(int(decode(model, cache, [tokens[-1]], [len(tokens) - 1])[0].argmax()))
    return tokens


def greedy_reference(reference: Any, prompt: list[int], count: int) -> list[int]:
    import torch

    tokens = list(prompt)
    with torch.no_grad():
        while len(tokens) < len(prompt) + count:
            tokens.append(int(reference(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens
