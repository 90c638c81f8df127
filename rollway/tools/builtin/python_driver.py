"""Runs inside the sandbox, by its own Python: code comes in, output goes out, the variables stay.

A request is a line of JSON on standard input: ``{"code", "nonce"}``. Whatever the code prints, its own value
and its traceback go to standard output, and a mark with the nonce behind them. Standard library only, and no
syntax newer than Python 3.7. It is never imported by the project.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import sys
import traceback
import types
from typing import Any


def _main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    marks = os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(1, 2)
    streams: dict[str, Any] = {}
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = [""]
    process = os.getpid()
    for number, line in enumerate(requests, 1):
        request = json.loads(line.decode("utf-8"))
        _open_streams(streams)
        state = _run(request["code"], f"<cell {number}>", module.__dict__)
        _flush()
        if os.getpid() != process:
            os._exit(0)  # a child that the code forked, and that ran on to here
        word = request["nonce"]
        os.write(marks, f"\x1e{word}:{state}:{word}\x1e".encode())


def _open_streams(streams: dict[str, Any]) -> None:
    """Whatever earlier code did to them, this code can print (``exit()`` closes stdin)."""
    if "stdin" not in streams or streams["stdin"].closed:
        streams["stdin"] = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdin = streams["stdin"]
    for name, number in (("stdout", 1), ("stderr", 2)):
        if name not in streams or streams[name].closed:
            streams[name] = open(  # noqa: SIM115
                number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
            )
        setattr(sys, name, streams[name])


def _run(code: str, name: str, variables: dict[str, Any]) -> str:
    lines = [f"{line}\n" for line in code.split("\n")]  # without its break, a line is marked askew
    linecache.cache[name] = (len(code), None, lines, name)
    try:
        tree = ast.parse(code, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec", dont_inherit=True), variables)
        if isinstance(last, ast.Expr):
            expression = compile(ast.Expression(last.value), name, "eval", dont_inherit=True)
            value = eval(expression, variables)
            if value is not None:
                variables["_"] = value
                print(repr(value))
        return "ok"
    except SystemExit as error:
        _flush()
        print(f"SystemExit: {error.code} (the interpreter continues)", file=sys.stderr)
        return "exit"
    except BaseException as error:
        _flush()
        _explain(error)
        return "error"


def _explain(error: BaseException) -> None:
    try:
        summary = traceback.TracebackException.from_exception(error)
        _shorten(summary, set())
        text = "".join(summary.format())
    except BaseException:  # an exception whose own `__str__` raises
        text = f"{type(error).__name__} (it cannot be shown)\n"
    try:
        sys.stderr.write(text)
    except BaseException:  # the code has put something of its own in its place
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _shorten(summary: Any, seen: set[int]) -> None:
    """Leave out the frames of this file and of libraries, but for where it was raised."""
    if summary is None or id(summary) in seen:
        return
    seen.add(id(summary))
    stack = [frame for frame in summary.stack if frame.filename != "<string>" or frame.name not in _OWN]
    mine = [frame for frame in stack if _is_users(frame.filename)]
    syntax = issubclass(summary.exc_type, SyntaxError)
    if stack and stack[-1] not in mine and not syntax:
        mine.append(stack[-1])
    summary.stack = traceback.StackSummary.from_list(mine) if mine or not syntax else None
    for inner in [summary.__cause__, summary.__context__, *(getattr(summary, "exceptions", None) or [])]:
        _shorten(inner, seen)


def _is_users(filename: str) -> bool:
    if filename.startswith("<cell "):
        return True
    library = os.path.dirname(os.__file__)
    return not filename.startswith(("<", library)) and "site-packages" not in filename


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass  # the code has closed it or put something of its own in its place


_OWN = ("_main", "_run", "<module>")

if __name__ == "__main__":
    _main()
