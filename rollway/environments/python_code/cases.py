"""Hidden tests, taken apart: what the sandbox runs, and what is expected, which never goes there.

Tests are Python text that is parsed and never run on the host. At the top level, or in a ``def test_...():``
for steps that build on each other, they hold ``assert EXPRESSION == LITERAL``, ``assert EXPRESSION is True``
(``False``, ``None``), ``assert EXPRESSION == approx(NUMBER)`` and ``with raises(NAME): ...``. Anything else
at the top level is run before the first case.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import msgspec

from rollway.environments.python_code.matching import Approximately, Exactly, Expected, Raises


class Case(msgspec.Struct, frozen=True):
    """One hidden test: a program without its answers, and the answers."""

    source: str
    expected: tuple[Expected, ...]
    text: str  # as it was written


class Suite(msgspec.Struct, frozen=True):
    """The hidden tests of a task."""

    preamble: str
    cases: tuple[Case, ...]


def parse_tests(text: str) -> Suite:
    """Take the tests apart.

    Raises:
        ValueError: the text does not parse, holds no case, or a statement that is none of the forms above.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    preamble: list[ast.stmt] = []
    cases = []
    for statement in statements:
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test"):
            cases.append(_case(statement.body, statement))
        elif isinstance(statement, ast.Assert) or _raised_name(statement) is not None:
            cases.append(_case([statement], statement))
        else:
            preamble.append(statement)
    if not cases:
        raise ValueError("it has no test")
    return Suite(_source(preamble), tuple(cases))


def _case(body: Sequence[ast.stmt], whole: ast.stmt) -> Case:
    steps: list[ast.stmt] = []
    expected: list[Expected] = []
    text = ast.unparse(whole)
    for statement in body:
        name = _raised_name(statement)
        if isinstance(statement, ast.Assert):
            value, answer = _comparison(statement)
            expected.append(answer)
            steps.append(_call("_value", value))
        elif name is not None and isinstance(statement, ast.With):
            expected.append(Raises(name))
            steps.append(_caught(statement.body))
        elif any(isinstance(node, ast.Assert) for node in ast.walk(statement)):
            raise ValueError(f"line {statement.lineno}: an assert must not be inside another statement")
        else:
            steps.append(statement)
    if not expected:
        raise ValueError(f"line {whole.lineno}: the test checks nothing")
    return Case(_source(steps), tuple(expected), text)


def _comparison(statement: ast.Assert) -> tuple[ast.expr, Expected]:
    test = statement.test
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        raise ValueError(f"line {statement.lineno}: write it as 'assert EXPRESSION == LITERAL'")
    right = test.comparators[0]
    if isinstance(test.ops[0], ast.Is) and isinstance(right, ast.Constant):
        return test.left, Exactly(right.value)
    if not isinstance(test.ops[0], ast.Eq):
        raise ValueError(f"line {statement.lineno}: only '==' and 'is' can be compared outside the sandbox")
    if isinstance(right, ast.Call) and isinstance(right.func, ast.Name) and right.func.id == "approx":
        return test.left, Approximately(float(_literal(right.args[0])))
    return test.left, Exactly(_literal(right))


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"line {node.lineno}: the expected value must be a literal") from None


def _raised_name(statement: ast.stmt) -> str | None:
    """The exception that a ``with raises(NAME):`` asks for."""
    if not isinstance(statement, ast.With) or len(statement.items) != 1:
        return None
    call = statement.items[0].context_expr
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "raises":
        return None
    if len(call.args) != 1 or not isinstance(call.args[0], ast.Name):
        raise ValueError(f"line {statement.lineno}: write it as 'with raises(NAME):'")
    return call.args[0].id


def _caught(body: list[ast.stmt]) -> ast.stmt:
    """``body``, and a report of the exception that it raised."""
    error = ast.ExceptHandler(
        type=ast.Name("BaseException", ast.Load()),
        name="_error",
        body=[_call("_raised", ast.Name("_error", ast.Load()))],
    )
    return ast.Try(body=body, handlers=[error], orelse=[_call("_raised", ast.Constant(None))], finalbody=[])


def _call(function: str, argument: ast.expr) -> ast.stmt:
    return ast.Expr(ast.Call(func=ast.Name(function, ast.Load()), args=[argument], keywords=[]))


def _source(statements: list[ast.stmt]) -> str:
    return ast.unparse(ast.fix_missing_locations(ast.Module(body=statements, type_ignores=[])))
