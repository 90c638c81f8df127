"""The list of commands. Only the command that is asked for is imported; the others are a line of help."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import typer


class _Command(NamedTuple):
    module: str
    function: str
    help: str


COMMANDS = {
    "eval": _Command("rollway.cli.eval", "run", "Evaluate a model on an environment."),
    "rollout": _Command("rollway.cli.rollout", "run", "Roll out groups of samples to train on."),
    "score": _Command("rollway.cli.score", "score", "Score a stored run again, without the model."),
    "export": _Command("rollway.cli.export", "export", "Write a stored run to Parquet or JSON Lines."),
    "verify": _Command("rollway.cli.verify", "verify", "Recompute the logprobs of a stored run."),
    "serve": _Command("rollway.cli.serve", "serve", "Serve the embedded policy."),
    "parse": _Command("rollway.cli.parse", "parse", "Read the tool calls in a model's text."),
}


def build_app(arguments: Sequence[str]) -> Callable[..., Any]:
    """The command line for ``arguments``, to be called with ``standalone_mode=False``."""
    app = typer.Typer(
        name="rollway",
        help="Roll out, evaluate and score tool-using language models.",
        epilog="Begin with: rollway eval calculator",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_version)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if name == asked:
            function = getattr(importlib.import_module(command.module), command.function)
            app.command(name)(function)
        else:
            app.command(name, help=command.help)(_not_asked)
    return typer.main.get_command(app)


def _version(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("rollway"))
        raise typer.Exit()


def _not_asked() -> None:
    """Stands for a command that `build_app` saw no need to import."""
    raise AssertionError("a command was run that was not found among the arguments")
