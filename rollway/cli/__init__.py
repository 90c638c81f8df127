"""The command line: one file per command, and one place where a mistake becomes one line and exit code 2.

Exit codes: 0 done; 1 the run failed; 2 wrong usage; 130 interrupted, with everything finished so far on
disk. Commands import what they need when they run, so that ``rollway --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rollway.errors import UserError

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code.

    Raises:
        SystemExit: only with ``--help`` and the like, from the argument parser.
    """
    import click

    from rollway.cli.app import build_app

    try:
        result = build_app()(args=arguments, prog_name="rollway", standalone_mode=False)
    except UserError as error:
        return _complain(str(error))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "rollway"
        return _complain(f"{error.format_message()} See '{command} --help'.")
    except click.ClickException as error:
        return _complain(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        print("rollway: interrupted", file=sys.stderr)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _complain(message: str) -> int:
    print("rollway: " + " ".join(message.split("\n")), file=sys.stderr)
    return USAGE_ERROR
