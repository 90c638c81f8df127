"""``todo``: a list of the rollout's own, which every call shows whole."""

from typing import Annotated

import msgspec

from rollway.tools.context import Notes
from rollway.tools.definition import Tool, ToolFailed, tool

MAX_ITEMS = 100
MAX_CHARS = 500  # of one item
_KEY = "rollway.todo"


class Item(msgspec.Struct):
    """One thing to do."""

    text: str
    done: bool = False


def todo_tool() -> Tool:
    """The ``todo`` tool."""
    return tool(todo)


async def todo(
    notes: Notes,
    add: Annotated[list[str], "things to do, put at the end of the list"] = [],  # noqa: B006 (never changed)
    complete: Annotated[list[int], "numbers of the things that are done"] = [],  # noqa: B006
) -> str:
    """Keep a list of what is to be done. Returns the list; without arguments it only shows it."""
    items = notes[_KEY] = msgspec.convert(notes.get(_KEY, []), list[Item])  # plain ones: read from a record
    total = len(items) + len(add)
    wrong = [number for number in complete if not 1 <= number <= total]
    if wrong:
        there = f"the numbers go from 1 to {total}" if total else "the list is empty"
        raise ToolFailed(f"Error: no item {wrong[0]}; {there}. Nothing changed.")
    if total > MAX_ITEMS or any(len(text) > MAX_CHARS for text in add):
        raise ToolFailed(
            f"Error: the list holds {MAX_ITEMS} items of {MAX_CHARS} characters each. Nothing changed."
        )
    items.extend(Item(" ".join(text.split())) for text in add)
    for number in complete:
        items[number - 1].done = True
    lines = [f"{number}. [{'x' if item.done else ' '}] {item.text}" for number, item in enumerate(items, 1)]
    return "\n".join(lines) or "[the list is empty]"
