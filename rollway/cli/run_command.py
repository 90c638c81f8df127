"""What ``rollway eval`` and ``rollway rollout`` share: their options, and the exit code of a run.

Each option is shorthand for one field of the configuration; ``--set`` reaches every field.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollway.errors import UserError
from rollway.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from rollway.evaluation.config import EvalConfig

FAILED = 1


FIELDS = """\b
    Limits, timeouts and retries are configuration fields:
      --set limits.timeout=SECONDS           Timeout of a rollout [default: none]
      --set limits.tool_timeout=SECONDS      Timeout of a tool call [default: 60]
      --set limits.max_tool_calls=N          Limit on tool calls per rollout [default: none]
      --set model.timeouts.total=SECONDS     Timeout of a model request [default: 3600]
      --set model.retry.patience=SECONDS     Patience with a server that is away or busy [default: 1800]
      --set model.retry.tries=N              Tries of a request that gets garbage [default: 5]
      --set stop_after_failures=N            Stop after N failures in a row [default: 32]"""
"""The part of the help on what has no option of its own."""


def run_command(*, groups: bool, help: str) -> Callable[..., int]:
    """A command that does a run. ``groups``: the samples of a task form a group to train on.

    The defaults in the help are those of `EvalConfig`, which takes too long to import for ``--help``.
    """

    def run(
        target: Annotated[
            str | None,
            typer.Argument(
                metavar="ENVIRONMENT_OR_CONFIG",
                help="An environment or config by name, a config.yaml, or your own env.py[:Class].",
                show_default=False,
            ),
        ] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="FIELD=VALUE",
                help="Set any configuration field. Can be given more than once.",
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                metavar="DIR",
                help="Run directory. Resumes the run that is already there. [default: runs/NAME-TIME]",
            ),
        ] = None,
        resume: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Resume the run in this directory, with its own configuration."),
        ] = None,
        split: Annotated[
            str | None,
            typer.Option(metavar="NAME", help="Task split. [default: test; train with groups]"),
        ] = None,
        tasks: Annotated[
            int | None, typer.Option(metavar="N", help="Run only the first N tasks. [default: all]")
        ] = None,
        samples: Annotated[
            int | None, typer.Option(metavar="N", help="Number of rollouts per task. [default: 1]")
        ] = None,
        seed: Annotated[
            int | None, typer.Option(metavar="N", help="Random seed of the run. [default: 0]")
        ] = None,
        data: Annotated[
            str | None,
            typer.Option(
                metavar="FILE_OR_NAME",
                help="Tasks from a file, a folder, or a dataset on the Hub. [default: the environment's]",
            ),
        ] = None,
        base_url: Annotated[
            str | None,
            typer.Option(metavar="URL", help="Model server. [default: serve the embedded policy]"),
        ] = None,
        model: Annotated[
            str | None,
            typer.Option(metavar="NAME", help="Model name on the server. [default: the server's only model]"),
        ] = None,
        api_key_env: Annotated[
            str | None, typer.Option(metavar="NAME", help="Environment variable that holds the API key.")
        ] = None,
        policy: Annotated[
            str | None,
            typer.Option(
                metavar="NAME_OR_DIR",
                help="Embedded policy to serve when --base-url is not given. [default: calculator]",
            ),
        ] = None,
        temperature: Annotated[
            float | None, typer.Option(metavar="T", help="Sampling temperature. [default: 1]")
        ] = None,
        max_tokens: Annotated[
            int | None,
            typer.Option(metavar="N", help="Limit on sampled tokens per turn. [default: the server's]"),
        ] = None,
        max_turns: Annotated[
            int | None, typer.Option(metavar="N", help="Limit on turns per rollout. [default: 30]")
        ] = None,
        tool_parser: Annotated[
            str | None,
            typer.Option(
                metavar="FORMAT",
                help="Format of tool calls that the server leaves in the text, or auto. [default: hermes]",
            ),
        ] = None,
        reasoning_parser: Annotated[
            str | None,
            typer.Option(
                metavar="FORMAT", help="Format of reasoning that the server leaves in the text, or auto."
            ),
        ] = None,
        sandbox: Annotated[
            str | None,
            typer.Option(
                metavar="BACKEND",
                help="Sandbox for commands: bubblewrap, local, docker or podman. "
                "[default: the environment's]",
            ),
        ] = None,
        record_tools: Annotated[
            bool | None, typer.Option("--record-tools", help="Record the result of every tool call.")
        ] = None,
        replay_tools: Annotated[
            Path | None,
            typer.Option(metavar="RUN", help="Replay the tool results of this run instead of running tools."),
        ] = None,
        record_calls: Annotated[
            bool | None,
            typer.Option("--record-calls", help="Keep every request to the model and every reply as it is."),
        ] = None,
        workers: Annotated[
            int | None,
            typer.Option(
                metavar="N",
                help="Number of Ray worker processes; 0 runs without Ray. [default: 0]",
            ),
        ] = None,
        concurrency: Annotated[
            int | None,
            typer.Option(metavar="N", help="Limit on rollouts in flight per worker. [default: 32]"),
        ] = None,
        wait_for_server: Annotated[
            float | None,
            typer.Option(
                metavar="[SECONDS]",
                help="Wait for a server that is still starting. [default: no; without SECONDS: 1800]",
                show_default=False,
            ),
        ] = None,
        max_failed: Annotated[
            str | None,
            typer.Option(
                metavar="N_OR_SHARE",
                help="Rollouts that may end without a score: 3, or 5%. More: exit code 1. [default: 0]",
            ),
        ] = None,
        wandb: Annotated[
            bool | None, typer.Option("--wandb", help="Log the run to Weights & Biases.")
        ] = None,
        allow_changed_tasks: Annotated[
            bool, typer.Option("--allow-changed-tasks", help="Resume although tasks have changed.")
        ] = False,
        allow_changed_environment: Annotated[
            bool,
            typer.Option("--allow-changed-environment", help="Resume although the environment has changed."),
        ] = False,
        allow_other_weights: Annotated[
            bool,
            typer.Option("--allow-other-weights", help="Resume although the server serves other weights."),
        ] = False,
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
            "record_calls": record_calls,
            "tools.replay": None if replay_tools is None else str(replay_tools),
            "model.wait_for_server": wait_for_server,
            "workers": workers,
            "concurrency": concurrency,
            "max_failed": None if max_failed is None else _number_or_text(max_failed),
            "wandb.enabled": wandb,
        }
        if replay_tools is not None and record_tools is None:
            options["tools.record"] = False  # the config may be the recorded run's own
        given = {name: value for name, value in options.items() if value is not None}
        flags = {
            "changed-tasks": allow_changed_tasks,
            "changed-environment": allow_changed_environment,
            "other-weights": allow_other_weights,
        }
        config = _configure(target, resume, given, set_ or [], groups=groups)
        return _run(config, [name for name, is_given in flags.items() if is_given])

    run.__doc__ = help
    return run


def _number_or_text(given: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(given)
        except ValueError:
            continue
    return given


def _configure(
    target: str | None, resume: Path | None, options: dict[str, Any], assignments: list[str], *, groups: bool
) -> EvalConfig:
    from rollway.evaluation.config_files import load_config, load_stored_config, parse_overrides

    overrides = options | parse_overrides(assignments)
    if resume is not None:
        if target is not None or "out" in overrides:
            raise UserError("--resume DIR takes no environment and no --out: it uses the run's own config")
        return load_stored_config(resume, overrides)
    if target is None:
        raise UserError("no environment or config given; try: rollway eval calculator")
    return load_config(target, ({"groups": True} if groups else {}) | overrides)


def _run(config: EvalConfig, allow: list[str]) -> int:
    from rollway.cli.console import run_console
    from rollway.evaluation import RunFailed, RunInterrupted, evaluate

    try:
        evaluate(config, console=run_console(), allow=allow)
    except RunInterrupted as error:
        print(f"rollway: {error}", file=sys.stderr)
        return INTERRUPTED
    except RunFailed as error:
        print(f"rollway: {error}", file=sys.stderr)
        return FAILED
    return 0
