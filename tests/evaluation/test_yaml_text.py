"""YAML as people write it."""

from __future__ import annotations

import pytest

from rollway.evaluation.yaml_text import parse_yaml


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("5", 5), ("0.5", 0.5), ("1E5", 1e5), ("'1e-3'", "1e-3")]
)
def test_numbers_are_numbers(text: str, value: object) -> None:
    assert parse_yaml(text, "x") == value
