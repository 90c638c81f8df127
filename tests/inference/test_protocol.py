"""What cannot be asked for."""

from __future__ import annotations

import msgspec
import pytest

from rollway.inference.protocol import Sampling


@pytest.mark.parametrize("tokens", [0, -1])
def test_asking_for_no_tokens_is_refused_before_a_server_calls_it_a_full_context(tokens: int) -> None:
    with pytest.raises(ValueError, match=r"sampling\.max_tokens must be at least 1"):
        Sampling(max_tokens=tokens)
    with pytest.raises(ValueError, match="at least 1"):
        msgspec.structs.replace(Sampling(max_tokens=5), max_tokens=tokens)
