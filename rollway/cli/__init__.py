"""The command line: one file per command, and one place where a mistake becomes one line and exit code 2.

Exit codes: 0 success; 1 run failed; 2 usage error; 130 interrupted, with every finished rollout on disk.
A command imports what it needs when it runs, so that ``rollway --help`` is quick. Ctrl-C stops any command in
good order, pressed twice it ends the process at once, and no thread keeps the process after the last line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rollway.errors import UserError
from rollway.interrupts import INTERRUPTED, end_at_next, end_within, interruptible

USAGE_ERROR = 2

RUNS_CODE = (["eval"], ["rollout"], ["score"])
"""Commands that run code of a user's, which may hold the interpreter's lock."""

END_SECONDS = 5.0
"""How long the process may live after the last line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code.

    In a process of its own (``rollway``, ``python -m rollway.cli``) signals are the command's to take, and
    soon after it the process ends.
    """
    from rollway.cli.console import lasting_streams

    own = arguments is None and _is_own_process()
    words = sys.argv[1:] if arguments is None else arguments
    code = USAGE_ERROR
    try:
        guarded = interruptible(guard=list(words[:1]) in RUNS_CODE) if own else nullcontext()
        with lasting_streams(), guarded:
            code = _main(words)
    except KeyboardInterrupt:
        print("rollway: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        raise
    finally:
        if own:
            end_at_next()
            end_within(END_SECONDS, code)
    return code


def _is_own_process() -> bool:
    """Is the process there for the command, and not for a program that calls `main`?"""
    file = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "")
    return file.stem == "rollway" or file == Path(__file__).with_name("__main__.py")


def _main(arguments: Sequence[str]) -> int:
    import typer

    from rollway.cli.app import Interrupted, build_app, with_values

    words = with_values(list(arguments)) or ["--help"]
    # typer bundles click or uses the installed one; this finds its error classes in either.
    usage_error: type[Any] = typer.BadParameter.__mro__[1]
    click_error: type[Any] = typer.BadParameter.__mro__[2]
    try:
        result = build_app(words)(args=words, prog_name="rollway", standalone_mode=False)
    except UserError as error:
        return _complain(str(error))
    except usage_error as error:
        return _complain(_usage_complaint(error))
    except click_error as error:
        return _complain(str(getattr(error, "message", error)))
    except (Interrupted, typer.Abort):
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else 0


def _usage_complaint(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else "rollway"
    message = error.format_message().rstrip(".")
    return f"{message}; see {command} --help"


def _complain(message: str) -> int:
    print("rollway: " + " ".join(message.split()), file=sys.stderr)
    return USAGE_ERROR
