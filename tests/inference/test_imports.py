"""What importing costs, and that everything public can be had."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rollway.inference


@pytest.mark.parametrize("name", rollway.inference.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(rollway.inference, name).__name__ == name


def test_importing_the_clients_loads_no_http_library() -> None:
    program = """
import sys
from rollway.inference import ChatClient, OpenAIClient
assert not {"aiohttp", "openai", "httpx"} & set(sys.modules)
ChatClient("http://127.0.0.1:8000", "m")
assert "openai" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
