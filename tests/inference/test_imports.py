"""What importing costs, and that everything public can be had."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rollway.inference


@pytest.mark.parametrize("name", rollway.inference.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(rollway.inference, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoClient"):
        rollway.inference.NoClient  # type: ignore[attr-defined]  # noqa: B018


def test_the_errors_come_without_an_http_library_and_the_chat_client_without_openai() -> None:
    program = """
import sys
import rollway.inference
assert "aiohttp" not in sys.modules
from rollway.inference import ChatClient, OpenAIClient
assert "aiohttp" in sys.modules
assert "openai" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
