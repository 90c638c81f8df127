"""What a rollout begins with becomes what can be sent, or is refused in one line."""

from __future__ import annotations

import numpy
import pytest

from rollway.agent_loop.prompts import readied_prompt
from rollway.errors import UserError


def test_messages_become_plain_values_whatever_they_were_made_of() -> None:
    parts = ({"type": "text", "text": numpy.str_("hi"), "score": numpy.float32(0.5)},)
    messages = readied_prompt(
        [{"role": numpy.str_("user"), "content": "half \ud800"}, {"role": "user", "content": parts}]  # type: ignore[dict-item]
    )
    assert messages == [
        {"role": "user", "content": "half ?"},
        {"role": "user", "content": [{"type": "text", "text": "hi", "score": 0.5}]},
    ]
    assert type(messages[0]["role"]) is type(messages[1]["content"][0]["text"]) is str


def test_the_messages_given_are_not_changed() -> None:
    given = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    (message,) = readied_prompt(given)
    message["content"].append({"type": "text", "text": "more"})
    assert given == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def test_a_prompt_that_would_lose_something_on_the_way_is_refused() -> None:
    message = {"role": "user", "content": [{"type": "image", "image": object()}]}
    with pytest.raises(
        UserError, match=r"cannot be sent: messages\[0\]\['content'\]\[0\]\['image'\]: object"
    ):
        readied_prompt([message])
