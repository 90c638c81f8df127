"""The page about formats says what the declarations say."""

from __future__ import annotations

from pathlib import Path

from rollway.tool_parsers.docs import formats_page

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == formats_page(), (
        "write it again with `python -m rollway.tool_parsers.docs docs/formats.md`"
    )
