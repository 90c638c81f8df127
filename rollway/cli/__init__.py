"""The command line: one file per command, and one place where a mistake becomes one line and exit code 2.

Exit codes: 0 success; 1 run failed; 2 usage error; 130 interrupted, with every finished rollout on disk.
A command imports what it needs when it runs, so that ``rollway --help`` is quick. Ctrl-C stops any command in
good order, pressed twice it ends the process at once, and no thread keeps the process after the last line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rollway.errors import UserError
from rollway.interrupts import INTERRUPTED, end_within, interruptible

USAGE_ERROR = 2

RUNS_CODE = (["eval"], ["rollout"], ["score"])
"""Commands that run code of a user's, which may hold the interpreter's lock."""

END_SECONDS = 5.0
"""How long the process may live after the last line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code.

    Without ``arguments`` the command is the process's own: signals are its to take, and soon after it the
    process ends.
    """
    from rollway.cli.console import lasting_streams

    try:
        if arguments is not None:
            with lasting_streams():
                return _main(arguments)
        with lasting_streams(), interruptible(guard=sys.argv[1:2] in RUNS_CODE):
            code = _main(sys.argv[1:])
    except KeyboardInterrupt:
        print("rollway: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except SystemExit as asked:
        if arguments is None:
            end_within(
                END_SECONDS, asked.code if isinstance(asked.code, int) else int(asked.code is not None)
            )
        raise
    if arguments is None:
        end_within(END_SECONDS, code)
    return code


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
