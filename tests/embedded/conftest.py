"""A model folder with random weights and the shape of the embedded policy, and a server that runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from rollway.embedded.engine import Engine
from rollway.embedded.policy import Policy, load_policy
from rollway.inference.launch import launch_embedded_sync

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 384,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "torch_dtype": "bfloat16",
}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")

TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson ~ '\\n' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.reasoning_content %}
        {{- '<think>' ~ message.reasoning_content ~ '</think>' }}
    {%- endif %}
    {{- message.content or '' }}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
        {{- call.function.arguments | tojson ~ '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write float32 arrays as bf16, rounded down."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs = []
    offset = 0
    for name, tensor in tensors.items():
        blob = (tensor.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def random_tensors(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Weights under which the next token is far from certain and far from uniform."""
    rng = np.random.default_rng(seed)
    hidden, ffn, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    def norm(size: int) -> np.ndarray:
        return rng.uniform(0.5, 1.5, size).astype(np.float32)

    tensors = {"model.embed_tokens.weight": rng.normal(0, 0.1, (config["vocab_size"], hidden))}
    for index in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{index}."
        tensors |= {
            f"{prefix}self_attn.q_proj.weight": matrix(heads * dim, hidden),
            f"{prefix}self_attn.k_proj.weight": matrix(kv_heads * dim, hidden),
            f"{prefix}self_attn.v_proj.weight": matrix(kv_heads * dim, hidden),
            f"{prefix}self_attn.o_proj.weight": matrix(hidden, heads * dim),
            f"{prefix}self_attn.q_norm.weight": norm(dim),
            f"{prefix}self_attn.k_norm.weight": norm(dim),
            f"{prefix}mlp.gate_proj.weight": matrix(ffn, hidden),
            f"{prefix}mlp.up_proj.weight": matrix(ffn, hidden),
            f"{prefix}mlp.down_proj.weight": matrix(hidden, ffn),
            f"{prefix}input_layernorm.weight": norm(hidden),
            f"{prefix}post_attention_layernorm.weight": norm(hidden),
        }
    tensors["model.norm.weight"] = norm(hidden)
    return tensors


def byte_tokenizer(vocab_size: int) -> Tokenizer:
    """Byte-level BPE: all bytes, then merges of two letters, then special tokens and tags."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = "etaoinshrdlu"
    pairs = [(first, second) for first in letters for second in letters]
    pairs = pairs[: vocab_size - len(alphabet) - len(SPECIAL) - len(TAGS)]
    vocabulary = {token: index for index, token in enumerate([*alphabet, *map("".join, pairs)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in TAGS])
    return tokenizer


def write_policy(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A whole model folder with random weights."""
    config = CONFIG | changes
    tokenizer = byte_tokenizer(config["vocab_size"])
    end = tokenizer.token_to_id("<|im_end|>")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": end}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"})
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_safetensors(folder / "model.safetensors", random_tensors(config, seed))
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """As in the server: with more threads than free cores, small products crawl."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policy(tmp_path_factory.mktemp("policies") / "random")


@pytest.fixture(scope="session")
def make_policy_folder() -> Callable[..., Path]:
    return write_policy


@pytest.fixture(scope="session")
def policy(policy_folder: Path) -> Policy:
    return load_policy(policy_folder)


@pytest.fixture
def make_engine(policy: Policy) -> Callable[..., Engine]:
    def make(*, max_concurrency: int = 16, max_length: int = 512, prefix_tokens: int = 4096) -> Engine:
        return Engine(
            policy.model,
            policy.tokenizer,
            max_concurrency=max_concurrency,
            max_length=max_length,
            prefix_tokens=prefix_tokens,
        )

    return make


class Api:
    """A client of one server, no more than tests need."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self.session = session
        self.base_url = base_url

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        async with self.session.post(self.base_url + path, json=body, headers=headers) as reply:
            return reply.status, await reply.json()

    async def ok(self, path: str, **body: Any) -> Any:
        status, reply = await self.post(path, body)
        assert status == 200, reply
        return reply

    async def error(self, path: str, **body: Any) -> dict[str, Any]:
        status, reply = await self.post(path, body)
        assert status == reply["error"]["code"]
        return reply["error"]

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.base_url + path) as reply:
            return reply.status, await reply.text()

    async def events(self, path: str, **body: Any) -> list[Any]:
        """All events of a stream but the closing ``[DONE]``."""
        async with self.session.post(self.base_url + path, json={**body, "stream": True}) as reply:
            assert reply.status == 200, await reply.text()
            lines = [line for line in (await reply.text()).split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    async def metric(self, name: str) -> float:
        """A number of `/metrics`; ``name`` may go on into its labels. 0 for one that is not there yet."""
        _, text = await self.get("/metrics")
        lines = [line for line in text.splitlines() if line.startswith(f"vllm:{name}")]
        return float(lines[0].split()[-1]) if lines else 0.0

    async def aborted(self) -> float:
        """How many samples were aborted so far."""
        return await self.metric('request_success_total{finished_reason="abort"')

    async def until(self, name: str, wanted: float, *, seconds: float = 60.0) -> None:
        """Wait until a metric has a value."""
        async with asyncio.timeout(seconds):
            while await self.metric(name) != wanted:
                await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def base_url(policy_folder: Path) -> Iterator[str]:
    """A real server of its own process, with random weights, shared by all tests."""
    with launch_embedded_sync(str(policy_folder), max_concurrency=32) as url:
        yield url


@pytest.fixture
async def api(base_url: str) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        yield Api(session, base_url)


@pytest.fixture(scope="session")
def make_api() -> type[Api]:
    return Api
