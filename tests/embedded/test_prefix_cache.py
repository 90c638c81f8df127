"""Matches are exact whatever the hashes say, and what is stored stays within its bound."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rollway.embedded.kv_cache import Span
from rollway.embedded.prefix_cache import BLOCK, Prefix, PrefixCache, Tokens, block_hashes, shared_length


def sequence(*parts: tuple[int, int]) -> Tokens:
    """``(value, count)`` runs of tokens."""
    return np.concatenate([np.full(count, value, np.int64) for value, count in parts])


def span(length: int) -> Span:
    return np.zeros((1, 1, 2, length), np.float32), np.zeros((1, 1, length, 2), np.float32)


def store(cache: PrefixCache, tokens: Tokens) -> Prefix:
    prefix = Prefix(tokens, slot=0)
    cache.store(prefix, tokens, span(len(tokens)))
    return prefix


def match(cache: PrefixCache, prompt: Tokens) -> tuple[Prefix | None, int]:
    return cache.match(prompt, block_hashes(prompt))


def test_the_longest_shared_beginning_is_found_to_the_token() -> None:
    cache = PrefixCache(max_tokens=1000)
    short = store(cache, sequence((1, 40)))
    long = store(cache, sequence((1, 40), (2, 25)))
    assert match(cache, sequence((1, 40), (2, 20), (3, 9))) == (long, 60)
    assert match(cache, sequence((4, 50))) == (None, 0)
    prefix, shared = match(cache, sequence((1, 30), (5, 20)))
    assert prefix in (short, long)
    assert shared == 30


def test_the_last_token_of_a_prompt_is_never_matched_as_its_logits_are_wanted() -> None:
    cache = PrefixCache(max_tokens=1000)
    prefix = store(cache, sequence((1, 32)))
    assert match(cache, sequence((1, 32))) == (prefix, 31)


def test_a_wrong_hash_gives_no_wrong_match() -> None:
    cache = PrefixCache(max_tokens=1000)
    store(cache, sequence((1, 32)))
    assert cache.match(sequence((2, 32)), block_hashes(sequence((1, 32)))) == (None, 0)


def test_the_one_used_longest_ago_goes_first() -> None:
    cache = PrefixCache(max_tokens=100)
    first, second = sequence((1, 40)), sequence((2, 40))
    kept = store(cache, first)
    store(cache, second)
    match(cache, sequence((1, 40), (9, 9)))
    store(cache, sequence((3, 40)))
    assert cache.held_tokens == 80
    assert match(cache, sequence((2, 40), (9, 9))) == (None, 0)
    assert match(cache, sequence((1, 40), (9, 9))) == (kept, 40)


def test_a_sequence_replaces_the_one_that_it_goes_on_from() -> None:
    cache = PrefixCache(max_tokens=1000)
    parent = store(cache, sequence((1, 40)))
    longer = sequence((1, 40), (2, 20))
    cache.supersede(parent, longer)
    assert cache.held_tokens == 0
    child = store(cache, longer)
    assert match(cache, sequence((1, 40), (7, 20))) == (child, 40)
    other = store(cache, sequence((1, 30), (8, 30)))
    cache.supersede(child, other.tokens)
    assert cache.held_tokens == 120


def test_a_running_sequence_is_found_until_it_is_forgotten() -> None:
    cache = PrefixCache(max_tokens=1000)
    tokens = sequence((1, 40))
    running = Prefix(tokens, slot=7)
    cache.publish(running, block_hashes(tokens))
    assert match(cache, sequence((1, 40), (2, 2))) == (running, 40)
    cache.forget(running)
    assert match(cache, sequence((1, 40), (2, 2))) == (None, 0)
    assert not PrefixCache(max_tokens=10).fits(40)


RUNS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), min_size=1, max_size=5)


@given(st.lists(RUNS, min_size=1, max_size=12), st.integers(0, 200))
def test_matches_are_true_and_the_bound_holds(stored: list[list[tuple[int, int]]], bound: int) -> None:
    cache = PrefixCache(max_tokens=bound)
    for runs in stored:
        tokens = sequence(*runs)
        prefix, shared = match(cache, tokens)
        if prefix is not None:
            assert shared == shared_length(prefix.tokens, tokens[:-1])
            assert prefix.span is not None
        if cache.fits(len(tokens)):
            store(cache, tokens)
            if len(tokens) > BLOCK:
                assert match(cache, tokens)[1] == len(tokens) - 1
        assert cache.held_tokens <= bound
