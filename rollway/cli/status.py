"""``rollway status``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rollway.evaluation.look import Look

FAILED = 1


def status(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory to look at.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> int:
    """Show how far a run is, from its directory alone, whether or not it is running.

    \b
    Examples:
      rollway status runs/calculator-20260101-120000
      rollway status runs/calculator-20260101-120000 --json
      watch rollway status runs/calculator-20260101-120000

    A run that is active rewrites RUN/status.json every ten seconds. The command reads that file, the run's
    lock and the records; it writes nothing, and works on another machine that sees the directory.

    Exit codes: 0 the run is active or finished; 1 it failed, was interrupted, or its process is gone or is
    not heard of; 2 usage error.
    """
    from rollway.cli.console import run_console
    from rollway.evaluation.look import look_at, print_look

    found = look_at(run)
    if as_json:
        print(_json(found))
    else:
        print_look(found, run_console())
    return 0 if found.well else FAILED


def _json(look: Look) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(look), indent=2).decode()
