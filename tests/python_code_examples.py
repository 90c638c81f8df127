"""The examples in a programming task's prompt: as tests, and as a solution that knows them alone."""

from __future__ import annotations

import ast
import re

_BLOCK = re.compile(r"^```pycon\n(.*?)^```", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^>>> (.*)\n((?!>>> ).+\n)?", re.MULTILINE)


def examples(prompt: str) -> list[tuple[str, str]]:
    """(statement, shown result) of every example; the result is ``""`` when none is shown."""
    blocks = _BLOCK.findall(prompt)
    return [(code, result.strip()) for block in blocks for code, result in _EXAMPLE.findall(block)]


def as_tests(prompt: str) -> str:
    """The examples of a prompt as one hidden test."""
    lines = [f"assert ({code}) == {result}" if result else code for code, result in examples(prompt)]
    return "\n    ".join(["def test_the_examples():", *lines]) + "\n"


def example_only(prompt: str, solution: str) -> str:
    """A solution that answers the calls shown in the prompt, and does not know anything else.

    Of a class it has the names alone.
    """
    functions = [node.name for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef)]
    classes = [node for node in ast.parse(solution).body if isinstance(node, ast.ClassDef)]
    lines = ["SHOWN = {}", "key = lambda *args, **options: repr((args, sorted(options.items())))"]
    for code, result in examples(prompt):
        for name in functions:
            calls = [node for node in ast.walk(ast.parse(code)) if _calls(node, name)]
            for call in calls:
                arguments = ast.unparse(call).removeprefix(name)
                value = "None" if code.endswith("is None") else result
                value = f"iter({value})" if code.startswith("list(") else value
                lines.append(f"SHOWN[{name!r}, key{arguments}] = {value or None}")
    for name in functions:
        lines.append(
            f"def {name}(*args, **options):\n    return SHOWN.get(({name!r}, key(*args, **options)))"
        )
    for node in classes:
        lines.append(f"class {node.name}:\n    def __init__(self, *args): pass")
        methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
        lines += [f"    def {name}(self, *args): pass" for name in methods if not name.startswith("__")]
    return "\n".join(lines) + "\n"


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
