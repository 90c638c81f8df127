"""Integer expressions as trees: drawn at random, evaluated, written down, solved step by step.

Every inner value of a drawn expression is below a million in absolute value. All randomness comes from
``random.Random.random``, the one method whose stream Python promises to keep between versions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

import msgspec

MAX_VALUE = 1_000_000
"""Every value of a drawn expression is below this in absolute value."""

SYMBOLS = {"add": "+", "subtract": "-", "multiply": "*"}
"""The tool that does an operation, and the operation's sign."""

_SMALLEST_OPERANDS = (1, 1, 1, 10, 10, 10, 10, 100, 100, 100)  # of one, two and three digits

_T = TypeVar("_T")


class Operation(msgspec.Struct, frozen=True):
    """An operation on two expressions. ``tool`` is a key of `SYMBOLS`."""

    tool: str
    left: int | Operation
    right: int | Operation


def choose(rng: Random, options: Sequence[_T]) -> _T:
    """One of the options, each as likely as the others."""
    return options[int(rng.random() * len(options))]


def apply(tool: str, left: int, right: int) -> int:
    """The value of one operation."""
    if tool == "add":
        return left + right
    if tool == "subtract":
        return left - right
    return left * right


def evaluate(expression: int | Operation) -> int:
    """The value of an expression."""
    if isinstance(expression, int):
        return expression
    return apply(expression.tool, evaluate(expression.left), evaluate(expression.right))


def count_operations(expression: int | Operation) -> int:
    """The number of operations, which is the least number of tool calls that solve it."""
    if isinstance(expression, int):
        return 0
    return 1 + count_operations(expression.left) + count_operations(expression.right)


def write(expression: int | Operation) -> str:
    """The expression as text, with the fewest parentheses that keep its tree."""
    if isinstance(expression, int):
        return str(expression)
    left, right = write(expression.left), write(expression.right)
    if _binds(expression.left) < _binds(expression):
        left = f"({left})"
    if _binds(expression.right) <= _binds(expression):
        right = f"({right})"
    return f"{left} {SYMBOLS[expression.tool]} {right}"


def _binds(expression: int | Operation) -> int:
    if isinstance(expression, int):
        return 3
    return 2 if expression.tool == "multiply" else 1


def canonical(expression: int | Operation) -> str:
    """A text that is the same for expressions that differ only in the order of summands or factors."""
    if isinstance(expression, int):
        return str(expression)
    sides = [canonical(expression.left), canonical(expression.right)]
    if expression.tool != "subtract":
        sides.sort()
    return f"({sides[0]}{SYMBOLS[expression.tool]}{sides[1]})"


def ready(expression: int | Operation) -> list[Operation]:
    """The operations whose two operands are numbers, from left to right: what can be called at once."""
    if isinstance(expression, int):
        return []
    if isinstance(expression.left, int) and isinstance(expression.right, int):
        return [expression]
    return ready(expression.left) + ready(expression.right)


def fill_in(expression: int | Operation, values: Iterator[int | None]) -> int | Operation:
    """The expression with the next of ``values`` in the place of each `ready` operation; None leaves it."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression.left, int) and isinstance(expression.right, int):
        value = next(values)
        return expression if value is None else value
    left = fill_in(expression.left, values)
    return Operation(expression.tool, left, fill_in(expression.right, values))


def draw_expression(rng: Random, operations: int, *, chain: bool = False) -> Operation:
    """Draw an expression with a number of operations. A chain does one after the other, from the left.

    Operands are 1 to 999. Expressions with a value out of bounds are thrown away and drawn anew.
    """
    while True:
        tree = _draw_tree(rng, operations, chain)
        if isinstance(tree, Operation) and _in_bounds(tree):
            return tree


def _draw_tree(rng: Random, operations: int, chain: bool) -> int | Operation:
    if operations == 0:
        return _draw_operand(rng)
    tool = choose(rng, tuple(SYMBOLS))
    on_the_left = operations - 1 if chain else int(rng.random() * operations)
    left = _draw_tree(rng, on_the_left, chain)
    return Operation(tool, left, _draw_tree(rng, operations - 1 - on_the_left, chain))


def _draw_operand(rng: Random) -> int:
    low = choose(rng, _SMALLEST_OPERANDS)
    return low + int(rng.random() * 9 * low)


def _in_bounds(expression: int | Operation) -> bool:
    if isinstance(expression, int):
        return True
    if not (_in_bounds(expression.left) and _in_bounds(expression.right)):
        return False
    return abs(evaluate(expression)) < MAX_VALUE
