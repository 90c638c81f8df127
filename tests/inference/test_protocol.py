"""What cannot be asked for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rollway.inference.protocol import Sampling


@pytest.mark.parametrize("tokens", [0, -1])
def test_asking_for_no_tokens_is_refused_before_a_server_calls_it_a_full_context(tokens: int) -> None:
    with pytest.raises(ValueError, match=r"sampling\.max_tokens must be at least 1"):
        Sampling(max_tokens=tokens)
    with pytest.raises(ValueError, match="at least 1"):
        msgspec.structs.replace(Sampling(max_tokens=5), max_tokens=tokens)


@pytest.mark.parametrize(("extra", "word"), [({"n": 2}, "'n'"), ({"stream": True}, "'stream'")])
def test_what_replies_cannot_be_read_of_is_refused_before_it_is_sent(
    extra: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValueError, match=rf"extra: .*remove {word} from sampling\.extra"):
        Sampling(extra=extra)


@pytest.mark.parametrize("extra", [{"n": 1}, {"stream": False}, {"stream": None}])
def test_one_whole_reply_may_be_asked_for_by_name(extra: dict[str, Any]) -> None:
    assert Sampling(extra=extra).extra == extra
