"""Text is the same whether its tokens come one by one or at once, and stop strings end it where they must."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from rollway.embedded.policy import Policy, find_policy
from rollway.embedded.tokenizer import GrowingText, Tokenizer
from rollway.errors import UserError

IDS = st.lists(st.integers(0, 383), max_size=40)
TOKENIZER = Tokenizer(find_policy("calculator"))
REFERENCE = tokenizers.Tokenizer.from_file(str(find_policy("calculator") / "tokenizer.json"))


def grow(ids: list[int], *, take_each: bool = False, **settings: object) -> tuple[str, str | None]:
    """The text of ids that come one by one, and the stop string that was met."""
    text = GrowingText(skipped=TOKENIZER.special_ids, **settings)  # type: ignore[arg-type]
    taken, stop = "", None
    for token in ids:
        stop = text.add(token, TOKENIZER.bytes_of(token))
        if stop is not None:
            break
        if take_each:
            taken += text.take(last=False)
    if stop is None:
        text.finish()
    return taken + text.take(last=True), stop


@given(IDS)
def test_ids_decode_as_the_tokenizers_library_decodes_them(ids: list[int]) -> None:
    assert TOKENIZER.decode(ids) == REFERENCE.decode(ids, skip_special_tokens=False)
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == REFERENCE.decode(ids)


@given(st.text(max_size=60))
def test_a_text_comes_back_from_its_ids(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(IDS)
def test_text_in_pieces_equals_text_at_once(ids: list[int]) -> None:
    assert grow(ids, take_each=True) == (TOKENIZER.decode(ids, skip_special_tokens=True), None)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_stop_string_that_is_complete_first_ends_the_text(text: str, stops: list[str]) -> None:
    ids = TOKENIZER.encode(text)
    found, stop = grow(ids, take_each=True, stop=stops)
    ends = {stop: text.find(stop) + len(stop) for stop in stops if stop in text}
    if not ends:
        assert (found, stop) == (text, None)
        return
    # Tokens may hold several characters, so the first stop string is the one within the first such token.
    assert stop is not None
    assert ends[stop] == min(ends.values())
    assert found == text[: text.find(stop)]
    assert grow(ids, stop=stops, include_stop=True) == (text[: text.find(stop)] + stop, stop)


def test_what_may_become_a_stop_string_is_held_back() -> None:
    text = GrowingText(skipped=frozenset(), stop=["END"])
    text.add(0, b"one E")
    assert text.take(last=False) == "one"
    text.add(1, b"N")
    assert text.take(last=False) == " "
    text.add(2, b"x")
    assert text.take(last=False) == "E"
    assert text.take(last=True) == "Nx"


def test_a_stop_string_counts_only_after_the_least_number_of_tokens() -> None:
    ids = TOKENIZER.encode("1212")
    assert grow(ids, stop=["1"]) == ("", "1")
    assert grow(ids, stop=["1"], min_tokens=1) == ("12", "1")


def test_a_character_that_never_becomes_whole_shows_as_such() -> None:
    half = [TOKENIZER.token_bytes.index(bytes([byte])) for byte in "é".encode()[:1]]
    assert grow(half, take_each=True) == ("�", None)


def test_the_end_of_turn_token_and_further_ends_are_read_from_the_folder(policy: Policy) -> None:
    assert policy.tokenizer.token_text(policy.tokenizer.eos_id or 0) == "<|im_end|>"
    assert policy.tokenizer.extra_stop_ids == ()
    assert [TOKENIZER.token_text(token) for token in TOKENIZER.extra_stop_ids] == ["<|endoftext|>"]


def test_what_is_no_byte_level_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is not a tokenizer"):
        Tokenizer(tmp_path)
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    with pytest.raises(UserError, match="not byte-level"):
        Tokenizer(tmp_path)
