"""The command line: one file per command, and one place where a mistake becomes one line and exit code 2.

Exit codes: 0 success; 1 run failed; 2 usage error; 130 interrupted, with every finished rollout on disk.
A command imports what it needs when it runs, so that ``rollway --help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rollway.errors import UserError

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    from rollway.cli.console import lasting_streams

    with lasting_streams():
        return _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(words: list[str]) -> int:
    import typer

    from rollway.cli.app import build_app, with_values

    words = with_values(words) or ["--help"]
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
    except (KeyboardInterrupt, typer.Abort):
        print("rollway: interrupted", file=sys.stderr)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _usage_complaint(error: Any) -> str:
    command = error.ctx.command_path if error.ctx else "rollway"
    message = error.format_message().rstrip(".")
    return f"{message}; see {command} --help"


def _complain(message: str) -> int:
    print("rollway: " + " ".join(message.split()), file=sys.stderr)
    return USAGE_ERROR
