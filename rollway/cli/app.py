"""The list of commands. Only the requested command is imported; the others are one line of help."""

from __future__ import annotations

import functools
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
    "rollout": _Command("rollway.cli.rollout", "run", "Roll out groups of samples for training."),
    "status": _Command("rollway.cli.status", "status", "Show how far a run is."),
    "score": _Command("rollway.cli.score", "score", "Score a stored run again, without the model."),
    "export": _Command("rollway.cli.export", "export", "Write a stored run to Parquet or JSON Lines."),
    "verify": _Command("rollway.cli.verify", "verify", "Verify the logprobs of a stored run."),
    "chaos": _Command("rollway.cli.chaos", "chaos", "Break everything in a run, and check its records."),
    "serve": _Command("rollway.cli.serve", "serve", "Serve the embedded policy over HTTP."),
    "parse": _Command("rollway.cli.parse", "parse", "Parse tool calls in model output."),
}


OPTIONAL_VALUES = {"--wait-for-server": "1800"}
"""Options whose value, a number, may be left out, and what it then is. typer knows no such options."""


def with_values(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the values that were left out."""
    words: list[str] = []
    for place, word in enumerate(arguments):
        words.append(word)
        after = arguments[place + 1] if place + 1 < len(arguments) else ""
        if word in OPTIONAL_VALUES and not after.replace(".", "", 1).isdigit():
            words.append(OPTIONAL_VALUES[word])
    return words


def build_app(arguments: Sequence[str]) -> Callable[..., Any]:
    """The command line for ``arguments``, to be called with ``standalone_mode=False``."""
    app = typer.Typer(
        name="rollway",
        help="Roll out, evaluate and score tool-using language models.",
        epilog="Get started: rollway eval calculator",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_version)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if name == asked:
            function = getattr(importlib.import_module(command.module), command.function)
            app.command(name)(_interruptible(function))
        else:
            app.command(name, help=command.help)(_not_asked)
    return typer.main.get_command(app)


class Interrupted(Exception):
    """Ctrl-C in a command. Typer would make an exit code of the KeyboardInterrupt, without a word."""


def _interruptible(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            raise Interrupted from None

    return call


def _version(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(version_of("rollway"))
        raise typer.Exit()


def _not_asked() -> None:
    """A placeholder for a command that `build_app` did not import."""
    raise AssertionError("this command was not imported")
