"""The calculator's tasks: a seeded stream of questions for each split.

The split of a question follows from a hash of its expression alone, with summands and factors in sorted
order. So no expression of one split occurs in another, in whatever words, however far a stream is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import msgspec

from rollway.environments.calculator.expressions import (
    Operation,
    canonical,
    count_operations,
    draw_expression,
    evaluate,
    write,
)
from rollway.environments.calculator.questions import symbolic_question, worded_question

SPLITS = ("train", "test")
SPLIT_SIZE = 2048
"""Tasks in each split."""

_SEEDS = {"train": 1, "test": 2}
_TEST_SHARE = 0.2
_WORDED_SHARE = 0.25


class Question(msgspec.Struct, frozen=True):
    """A question and the expression whose value answers it."""

    text: str
    expression: Operation
    form: str  # "symbolic" or "words"


def split_of(expression: Operation) -> str:
    """The split that an expression belongs to."""
    digest = hashlib.sha256(canonical(expression).encode()).digest()
    return "test" if int.from_bytes(digest[:4], "big") < _TEST_SHARE * 2**32 else "train"


def draw_questions(split: str, seed: int) -> Iterator[Question]:
    """Questions of one split without end. They may repeat.

    Raises:
        ValueError: there is no such split.
    """
    _check_split(split)
    rng = Random(seed)
    while True:
        question = _draw_question(rng)
        if split_of(question.expression) == split:
            yield question


def make_tasks(split: str) -> list[dict[str, Any]]:
    """The tasks of a split, always the same, no two of one expression.

    Each has ``task_id``, ``question``, ``answer`` (int), ``operations`` (the least number of calls),
    ``expression`` (in signs) and ``form`` (``"symbolic"`` or ``"words"``).

    Raises:
        ValueError: there is no such split.
    """
    _check_split(split)
    questions = islice(_distinct(draw_questions(split, _SEEDS[split])), SPLIT_SIZE)
    return [_as_task(f"{split}-{index:05d}", question) for index, question in enumerate(questions)]


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"the calculator has no split {split!r}; it has {' and '.join(map(repr, SPLITS))}")


def _draw_question(rng: Random) -> Question:
    place = rng.random()
    operations = 1 if place < 0.25 else 2 if place < 0.65 else 3
    if rng.random() < _WORDED_SHARE:
        chain = draw_expression(rng, operations, chain=True)
        return Question(worded_question(rng, chain), chain, "words")
    expression = draw_expression(rng, operations)
    return Question(symbolic_question(rng, expression), expression, "symbolic")


def _distinct(questions: Iterator[Question]) -> Iterator[Question]:
    seen: set[str] = set()
    for question in questions:
        key = canonical(question.expression)
        if key not in seen:
            seen.add(key)
            yield question


def _as_task(task_id: str, question: Question) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "question": question.text,
        "answer": evaluate(question.expression),
        "operations": count_operations(question.expression),
        "expression": write(question.expression),
        "form": question.form,
    }
