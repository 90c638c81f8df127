"""Real vLLM servers on the embedded policy, each started once for all tests here that ask for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from http_mcp_server import kept_free
from real_servers import wait_until_healthy

ROOT = Path(__file__).parent.parent.parent
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
POLICY = ROOT / "rollway" / "embedded" / "policies" / "calculator"
START_DEADLINE = 900.0  # seconds; a cold start on two cores takes 20 to 80


@pytest.fixture(scope="session")
def vllm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("vllm"), "float32") as url:
        yield url


@pytest.fixture(scope="session")
def vllm_bf16_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("vllm_bf16"), "bfloat16") as url:
        yield url


@contextmanager
def serving(folder: Path, dtype: str) -> Iterator[str]:
    """A server that computes in ``dtype``, as long as the block runs. Its log lies in ``folder``."""
    if not VLLM_PYTHON.exists():
        pytest.fail("no .venv-vllm here: run 'make test-vllm', which makes it")
    with kept_free(0) as port:
        yield from _serving(folder / "server.log", dtype, port)


def _serving(log: Path, dtype: str, port: int) -> Iterator[str]:
    command = [str(VLLM_PYTHON), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(POLICY), "--served-model-name", "calculator", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--dtype", dtype, "--enforce-eager", "--max-model-len", "2048"]
    command += ["--kv-cache-memory-bytes", str(64 << 20), "--enable-scale-out"]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"]
    # vLLM 0.32 on a CPU ends where the prompt of a request with a seed does not fit into one step.
    command.append("--no-enable-chunked-prefill")
    settings = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
    settings["VLLM_SERVER_DEV_MODE"] = "1"  # opens /pause, /resume and /update_weight_version
    environment = os.environ | settings
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process, log, seconds=START_DEADLINE)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
