"""An environment that a language model of 135 million parameters can work in: look up a price, and say it.

Its template knows no tools, so that the prompt itself tells of the tool, by worked examples.
"""

from __future__ import annotations

from typing import Any

from rollway.environments import Environment
from rollway.tools import tool
from rollway.trajectory import Message, Trajectory

PRICES = {"apple": 12, "pear": 35, "plum": 41, "bread": 31, "cheese": 58, "flour": 27, "honey": 64}
EXAMPLES = ("apple", "pear", "plum")


@tool
def price(item: str) -> str:
    """The price of an item.

    Args:
        item: Its name.
    """
    return answer(item)


def question(item: str) -> str:
    return f"What is the price of {item}?"


def call(item: str) -> str:
    return f'<tool_call>\n{{"name": "price", "arguments": {{"item": "{item}"}}}}\n</tool_call>'


def answer(item: str) -> str:
    return f"The price of {item} is {PRICES[item]}."


def told(trajectory: Trajectory, task: dict[str, Any]) -> float:
    return float(str(PRICES[task["item"]]) in (trajectory.messages[-1]["content"] or ""))


class Prices(Environment):
    name = "prices"
    tools = (price,)
    rewards = (told,)

    def tasks(self, split: str) -> list[dict[str, Any]]:
        return [{"task_id": item, "item": item} for item in PRICES if item not in EXAMPLES]

    def prompt(self, task: dict[str, Any]) -> list[Message]:
        messages: list[Message] = [
            {"role": "system", "content": "Answer each question with a call of the tool, then say the price."}
        ]
        for item in EXAMPLES:
            messages += [
                {"role": "user", "content": question(item)},
                {"role": "assistant", "content": call(item)},
                {"role": "tool", "content": answer(item)},
                {"role": "assistant", "content": answer(item)},
            ]
        return [*messages, {"role": "user", "content": question(task["item"])}]
