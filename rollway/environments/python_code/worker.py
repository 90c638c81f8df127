"""The program that runs a solution. Its text is sent to a sandbox; it needs the standard library alone.

It is told the solution and then one case per line, and answers each with a line: the plain values that the
case came to. It is given no expected value, so there is nothing in its process worth lying about: whatever is
written to its output is the solution's answer, and is compared outside.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any


def encode(value: Any) -> Any:
    """A value as JSON that keeps Python's types apart. What is no plain data becomes its type's name."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    for kind, types_ in (("tuple", tuple), ("set", (set, frozenset))):
        if isinstance(value, types_):
            return {kind: [encode(item) for item in value]}
    return {"object": type(value).__name__}


def raised(error: BaseException | None) -> Any:
    """An exception as the names of its classes, or what stands for none."""
    return {"raised": [] if error is None else [kind.__name__ for kind in type(error).__mro__]}


def run_case(source: str, names: dict[str, Any]) -> list[Any]:
    """What the ``_value`` and ``_raised`` calls of a case came to; an exception is its last value."""
    values: list[Any] = []
    namespace = dict(names)
    namespace["_value"] = lambda value: values.append(encode(value))
    namespace["_raised"] = lambda error: values.append(raised(error))
    try:
        exec(compile(source, "case", "exec"), namespace)
    except BaseException as error:
        values.append(raised(error))
    return values


def load(job: dict[str, str]) -> dict[str, Any]:
    """The names of the solution, and those of what the tests open with."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    exec(compile(job["given"], "given", "exec"), vars(module))
    vars(module).pop(job["entry_point"], None)
    exec(compile(job["code"], "solution.py", "exec"), vars(module))
    names = dict(vars(module))
    exec(compile(job["preamble"], "preamble", "exec"), names)
    return names


def main() -> None:
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what the solution prints is no answer
        os.dup2(nowhere, descriptor)

    def answer(value: Any) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    try:
        names = load(json.loads(requests.readline()))
    except BaseException as error:
        answer({"failed": (type(error).__name__ + ": " + str(error))[:500]})
        return
    answer({"loaded": True})
    for line in requests:
        answer(run_case(json.loads(line), names))


if __name__ == "__main__":
    main()
