"""Tasks of the calculator: right, distinct, stable, and apart by split."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollway.environments.calculator.expressions import (
    MAX_VALUE,
    Operation,
    canonical,
    count_operations,
    draw_expression,
    evaluate,
    fill_in,
    ready,
    write,
)
from rollway.environments.calculator.questions import worded_question
from rollway.environments.calculator.tasks import SPLITS, draw_questions, make_tasks, split_of

SIGNED = st.integers(-MAX_VALUE, MAX_VALUE)
EXPRESSIONS = st.builds(
    lambda seed, operations, chain: draw_expression(Random(seed), operations, chain=chain),
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.booleans(),
)


@pytest.fixture(scope="module")
def splits() -> dict[str, list[dict]]:
    return {split: make_tasks(split) for split in SPLITS}


def test_each_split_has_at_least_two_thousand_distinct_tasks(splits):
    for tasks in splits.values():
        for field in ("task_id", "question", "expression"):
            assert len({task[field] for task in tasks}) == len(tasks) >= 2000


def test_no_question_and_no_expression_of_one_split_is_in_the_other(splits):
    for field in ("question", "expression"):
        assert not {t[field] for t in splits["train"]} & {t[field] for t in splits["test"]}


def test_answers_are_what_python_computes(splits):
    for task in splits["train"] + splits["test"]:
        assert eval(task["expression"]) == task["answer"]
        assert sum(task["expression"].count(sign) for sign in ("+ ", "- ", "* ")) == task["operations"]


def test_the_mixture_is_as_documented(splits):
    for tasks in splits.values():
        for operations, share in ((1, 0.25), (2, 0.40), (3, 0.35)):
            assert sum(t["operations"] == operations for t in tasks) / len(tasks) == pytest.approx(
                share, abs=0.04
            )
        assert sum(t["form"] == "words" for t in tasks) / len(tasks) == pytest.approx(0.25, abs=0.04)


def test_tasks_are_the_same_on_every_machine_and_python(splits):
    digests = {
        split: hashlib.sha256(json.dumps(tasks, sort_keys=True).encode()).hexdigest()[:16]
        for split, tasks in splits.items()
    }
    assert digests == {"train": "28137bdc76f44e44", "test": "292dffe4d56c8b34"}


def test_the_training_stream_never_asks_a_test_expression(splits):
    keys = {canonical_of(task["expression"]) for task in splits["test"]}
    for question in islice(draw_questions("train", seed=99), 20_000):
        assert canonical(question.expression) not in keys
        assert split_of(question.expression) == "train"


def canonical_of(text: str) -> str:
    """The canonical form of an expression in signs, by Python's own grammar."""
    import ast

    tools = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply"}

    def build(node: ast.expr) -> int | Operation:
        if isinstance(node, ast.BinOp):
            return Operation(tools[type(node.op)], build(node.left), build(node.right))
        return node.value

    return canonical(build(ast.parse(text, mode="eval").body))


def test_an_unknown_split_is_refused_with_the_names_of_the_splits():
    with pytest.raises(ValueError, match=r"'validation'.*'train' and 'test'"):
        make_tasks("validation")


@given(EXPRESSIONS)
def test_the_written_expression_keeps_tree_and_value(expression):
    assert eval(write(expression)) == evaluate(expression)
    assert canonical_of(write(expression)) == canonical(expression)


@given(EXPRESSIONS)
def test_every_inner_value_stays_below_a_million(expression):
    while not isinstance(expression, int):
        for operation in ready(expression):
            assert abs(evaluate(operation)) < MAX_VALUE
        expression = fill_in(expression, map(evaluate, ready(expression)))


@given(EXPRESSIONS)
def test_filling_in_step_by_step_takes_each_operation_once_and_keeps_the_value(expression):
    value, left = evaluate(expression), count_operations(expression)
    while not isinstance(expression, int):
        left -= len(ready(expression))
        expression = fill_in(expression, map(evaluate, ready(expression)))
    assert (expression, left) == (value, 0)


@given(SIGNED, SIGNED, SIGNED)
def test_swapped_summands_and_factors_are_one_expression_and_swapped_differences_are_two(a, b, c):
    inner = Operation("add", a, b)
    assert canonical(Operation("multiply", inner, c)) == canonical(
        Operation("multiply", c, Operation("add", b, a))
    )
    if a != b:
        assert canonical(Operation("subtract", a, b)) != canonical(Operation("subtract", b, a))


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_a_worded_question_names_the_operands_and_no_other_number(seed, operations):
    import re

    chain = draw_expression(Random(seed), operations, chain=True)
    question = worded_question(Random(seed), chain)
    assert sorted(re.findall(r"\d+", question)) == sorted(re.findall(r"\d+", write(chain)))


def test_only_chains_are_put_into_words():
    with pytest.raises(TypeError, match=r"is not a chain"):
        worded_question(Random(0), Operation("add", 1, Operation("add", 2, 3)))
