"""The model folder that token mode reads is that of the served model: the same ids of every text."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.inference.folder_tokenizer import FolderTokenizer

pytestmark = pytest.mark.llama

ALPHABET = "abc XYZ 0123456789 \n\t'\"{}<>|_-.,äöü😀漢字\u00a0"
PIECES = st.sampled_from(["<|im_end|>", "<|im_start|>", "\n\n", "  ", "'ll", "it's"]) | st.text(ALPHABET)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> FolderTokenizer:
    return FolderTokenizer(folder)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_the_folder_makes_the_ids_that_the_server_makes(
    llama_url: str, tokenizer: FolderTokenizer, text: str
) -> None:
    asked = json.dumps({"content": text, "add_special": True, "parse_special": True}).encode()
    request = urllib.request.Request(f"{llama_url}/tokenize", asked, {"Content-Type": "application/json"})
    served = json.load(urllib.request.urlopen(request, timeout=60))["tokens"]
    assert tokenizer.encode(text) == served
