"""Output as text: readable, bounded, and the same however it arrived."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.tools.builtin.output import Kept, terminal_text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\n", "plain\n"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b(B\x1b=ab\x1b[2K", "ab"),
        (b"10%\r20%\rdone\n", "done\n"),
        (b"a\r\nb\r\r\n", "a\nb\n"),
        (b"N\x08Na\x08am\x08me", "Name"),
        (b"\x08x", "x"),
        (b"bell\x07", "bell"),
        (b"caf\xe9 au lait", "caf\ufffd au lait"),
        (b"\0" * 100, "[100 bytes of binary output, not shown]"),
        (b"", ""),
    ],
)
def test_output_is_shown_as_a_terminal_would(data: bytes, text: str) -> None:
    assert terminal_text(data) == text


@given(st.binary())
def test_no_output_breaks_it_and_nothing_that_controls_a_terminal_is_left(data: bytes) -> None:
    assert not set(terminal_text(data)) & ({chr(n) for n in range(32)} - {"\n", "\t"})


@given(st.lists(st.binary(max_size=40)), st.integers(2, 50))
def test_what_is_kept_is_bounded_and_does_not_depend_on_how_it_came(chunks: list[bytes], limit: int) -> None:
    whole, bit_by_bit = Kept(limit), Kept(limit)
    data = b"".join(chunks)
    whole.add(data)
    for chunk in chunks:
        bit_by_bit.add(chunk)
    assert whole.content() == bit_by_bit.content()
    assert whole.total == len(data)
    half = limit // 2
    if len(data) <= 2 * half:
        assert whole.content() == data
    else:
        assert (
            whole.content()
            == data[:half] + b"\n[... %d bytes cut ...]\n" % (len(data) - 2 * half) + data[-half:]
        )
