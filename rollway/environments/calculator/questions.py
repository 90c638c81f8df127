"""Words around an expression. The wording is drawn; the value asked for is always the expression's.

Only chains (one operation after the other, from the left) are put into words.
"""

from __future__ import annotations

from random import Random

from rollway.environments.calculator.expressions import Operation, choose, write

_SYMBOLIC = (
    "What is {}?",
    "Compute {}.",
    "Calculate {}.",
    "{} = ?",
    "How much is {}?",
    "Work out {}.",
)
_SINGLE = {
    "add": ("What is the sum of {a} and {b}?", "What is {a} plus {b}?", "Add {b} to {a}."),
    "subtract": ("Take {b} away from {a}.", "What is {a} minus {b}?", "Subtract {b} from {a}."),
    "multiply": ("What is the product of {a} and {b}?", "What is {a} times {b}?", "Multiply {a} by {b}."),
}
_STEPS = {
    "add": ("add {b}", "plus {b}", "{b} more"),
    "subtract": ("subtract {b}", "minus {b}", "{b} less"),
    "multiply": ("multiply by {b}", "times {b}", "{b} times that"),
}
_OPENINGS = ("Start with {a}", "Take {a}", "Begin at {a}")
_ENDINGS = (". What do you get?", ". What is the result?", ". What comes out?")
_STORY_STEPS = {
    "add": "{b} coins are added.",
    "subtract": "{b} coins are paid.",
    "multiply": "The balance is multiplied by {b}.",
}


def symbolic_question(rng: Random, expression: Operation) -> str:
    """A question that shows the expression in signs."""
    return choose(rng, _SYMBOLIC).format(write(expression))


def worded_question(rng: Random, chain: Operation) -> str:
    """A question that tells the chain in words.

    Raises:
        TypeError: the expression is no chain.
    """
    start, steps = _unroll(chain)
    if len(steps) == 1 and rng.random() < 0.5:
        tool, number = steps[0]
        return choose(rng, _SINGLE[tool]).format(a=start, b=number)
    if rng.random() < 0.3:
        told = " ".join(_STORY_STEPS[tool].format(b=number) for tool, number in steps)
        return f"An account holds {start} coins. {told} What is the balance?"
    style = int(rng.random() * 3)
    told = ", then ".join(_STEPS[tool][style].format(b=number) for tool, number in steps)
    return choose(rng, _OPENINGS).format(a=start) + ", " + told + choose(rng, _ENDINGS)


def _unroll(chain: Operation) -> tuple[int, list[tuple[str, int]]]:
    if not isinstance(chain.right, int):
        raise TypeError(f"{write(chain)} is not a chain: its last operand is not a number")
    if isinstance(chain.left, int):
        return chain.left, [(chain.tool, chain.right)]
    start, steps = _unroll(chain.left)
    return start, [*steps, (chain.tool, chain.right)]
