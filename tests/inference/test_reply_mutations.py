"""Replies that were changed by chance, or cut: `make fuzz-replies` looks at a million of them."""

from __future__ import annotations

import json

import pytest
from reply_mutations import SHAPES, judge, search

from rollway.inference.errors import InvalidReply
from rollway.inference.tries import TryFailed
from rollway.trajectory import Untrainable


def test_a_changed_reply_is_a_typed_error_or_read_for_what_is_left_of_it() -> None:
    assert search(1_500) is None


def test_a_reply_that_broke_off_behind_another_prompt_than_was_sent_is_not_trained_on() -> None:
    broken_off = json.loads(json.dumps(SHAPES["sglang"].body))
    broken_off["meta_info"]["prompt_tokens"] = 7
    body = json.dumps(broken_off | {"error": "the worker died"}).encode()
    completion = SHAPES["sglang"].read(body)
    assert completion.fault is not None
    assert completion.untrainable is Untrainable.PROMPT_MISMATCH
    assert judge("sglang", body) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_good_reply_of_each_shape_is_trained_on(shape: str) -> None:
    completion = SHAPES[shape].read(json.dumps(SHAPES[shape].body).encode())
    assert completion.untrainable is None
    assert completion.token_ids
    assert judge(shape, json.dumps(SHAPES[shape].body).encode()) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reply_that_was_cut_at_any_byte_is_tried_again(shape: str) -> None:
    body = json.dumps(SHAPES[shape].body | {"note": "Grüße ]}"}, ensure_ascii=False).encode()
    for end in range(len(body)):
        with pytest.raises(TryFailed) as failed:
            SHAPES[shape].read(body[:end])
        assert isinstance(failed.value.error, InvalidReply), end
        assert failed.value.retry, end
