"""What ``rollway eval`` and ``rollway rollout`` have in common: their options, and how a run is told of.

Each option is a shorthand for one field of the configuration; ``--set`` reaches all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollway.errors import UserError

if TYPE_CHECKING:
    from rollway.evaluation.config import EvalConfig

FAILED = 1
INTERRUPTED = 130


def run_command(*, groups: bool, help: str) -> Callable[..., int]:
    """A command that does a run. ``groups``: a task's samples are groups to be trained on."""

    def run(
        target: Annotated[
            str | None,
            typer.Argument(
                metavar="ENVIRONMENT_OR_CONFIG",
                help="An environment's or a config's name, a config.yaml, or your own env.py[:Class].",
                show_default=False,
            ),
        ] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="FIELD=VALUE", help="Set any field, as in limits.max_turns=8."),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="The run directory; one that exists is gone on with."),
        ] = None,
        resume: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Go on with the run in this directory.")
        ] = None,
        data: Annotated[
            str | None,
            typer.Option(
                metavar="FILE_OR_NAME",
                help="Tasks from a file, a folder, or a dataset on the Hub, in place of the environment's.",
            ),
        ] = None,
        split: Annotated[str | None, typer.Option(help="The split of the tasks.")] = None,
        tasks: Annotated[int | None, typer.Option(help="The first so many tasks.")] = None,
        samples: Annotated[int | None, typer.Option(help="Rollouts of each task.")] = None,
        seed: Annotated[int | None, typer.Option(help="The seed of the run.")] = None,
        base_url: Annotated[
            str | None, typer.Option(metavar="URL", help="The model's server; without: our own.")
        ] = None,
        model: Annotated[str | None, typer.Option(help="The model's name on the server.")] = None,
        api_key_env: Annotated[
            str | None, typer.Option(metavar="NAME", help="The environment variable with the API key.")
        ] = None,
        policy: Annotated[
            str | None, typer.Option(help="The embedded policy to serve when there is no --base-url.")
        ] = None,
        temperature: Annotated[float | None, typer.Option(help="The sampling temperature.")] = None,
        max_tokens: Annotated[int | None, typer.Option(help="Most sampled tokens of a turn.")] = None,
        max_turns: Annotated[int | None, typer.Option(help="Most turns of a rollout.")] = None,
        tool_parser: Annotated[
            str | None, typer.Option(help="The format of calls that the server leaves in the text.")
        ] = None,
        reasoning_parser: Annotated[
            str | None, typer.Option(help="The format of thoughts that the server leaves in the text.")
        ] = None,
        sandbox: Annotated[
            str | None,
            typer.Option(metavar="BACKEND", help="Where commands run: bubblewrap, local, docker, podman."),
        ] = None,
        record_tools: Annotated[
            bool | None, typer.Option("--record-tools", help="Keep what every tool call was answered.")
        ] = None,
        replay_tools: Annotated[
            Path | None,
            typer.Option(metavar="RUN", help="Answer tool calls from the record of this run; none is run."),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(help="Worker processes under Ray; 0: in this process, without Ray.")
        ] = None,
        concurrency: Annotated[int | None, typer.Option(help="Rollouts in flight per worker.")] = None,
        wandb: Annotated[bool | None, typer.Option("--wandb", help="Track the run with wandb.")] = None,
    ) -> int:
        options = {
            "out": None if out is None else str(out),
            "data": data,
            "split": split,
            "tasks": tasks,
            "samples": samples,
            "seed": seed,
            "model.base_url": base_url,
            "model.name": model,
            "model.api_key_env": api_key_env,
            "model.policy": policy,
            "sampling.temperature": temperature,
            "sampling.max_tokens": max_tokens,
            "limits.max_turns": max_turns,
            "tool_parser": tool_parser,
            "reasoning_parser": reasoning_parser,
            "sandbox.backend": sandbox,
            "tools.record": record_tools,
            "tools.replay": None if replay_tools is None else str(replay_tools),
            "workers": workers,
            "concurrency": concurrency,
            "wandb.enabled": wandb,
        }
        if replay_tools is not None and record_tools is None:
            options["tools.record"] = False  # the config may be the recorded run's own
        given = {name: value for name, value in options.items() if value is not None}
        return _run(_configure(target, resume, given, set_ or [], groups=groups))

    run.__doc__ = help
    return run


def _configure(
    target: str | None, resume: Path | None, options: dict[str, Any], assignments: list[str], *, groups: bool
) -> EvalConfig:
    from rollway.evaluation.config_files import load_config, load_stored_config, parse_overrides

    overrides = options | parse_overrides(assignments)
    if resume is not None:
        if target is not None or "out" in overrides:
            raise UserError("--resume DIR is the whole of it: the run's own config says what to do")
        return load_stored_config(resume, overrides)
    if target is None:
        raise UserError("give an environment or a config, as in: rollway eval calculator")
    return load_config(target, ({"groups": True} if groups else {}) | overrides)


def _run(config: EvalConfig) -> int:
    from rollway.cli.console import run_console
    from rollway.evaluation import RunFailed, RunInterrupted, evaluate

    try:
        evaluate(config, console=run_console())
    except RunInterrupted as error:
        print(f"rollway: {error}", file=sys.stderr)
        return INTERRUPTED
    except RunFailed as error:
        print(f"rollway: {error}", file=sys.stderr)
        return FAILED
    return 0
