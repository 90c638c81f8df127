"""``rollway verify``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1

LINE_SECONDS = 10.0
"""Between two lines of progress."""


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory.", show_default=False)],
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A server with the same weights; without: the run's own policy."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name on the server.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable with the API key.")
    ] = None,
    max_difference: Annotated[
        float | None, typer.Option(min=0.0, help="Bound on the largest difference, in nats.")
    ] = None,
    mean_difference: Annotated[
        float | None, typer.Option(min=0.0, help="Bound on the mean difference.")
    ] = None,
    p99_difference: Annotated[
        float | None, typer.Option(min=0.0, help="Bound on the 99th percentile.")
    ] = None,
    rollouts: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    weight_version: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only tokens that these weights sampled.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Sequences in flight.")] = 32,
    likeliest: Annotated[
        int,
        typer.Option(min=0, help="Likeliest tokens to ask for at each place; 0: no test of the drawing."),
    ] = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write what was found here, too.")
    ] = None,
) -> int:
    """Recompute the logprob of every sampled token of a run, and compare it with what was recorded.

    \b
    Examples:
      rollway verify runs/calculator-20260101-120000
      rollway verify runs/my-run --base-url http://127.0.0.1:8000 --model Qwen/Qwen3-8B
      rollway verify runs/my-run --weight-version step-40 --json verified.json

    Each sequence is sent once to a server that gives prompt logprobs: vLLM, SGLang, or the embedded one,
    which is started for a run that was made with it. Bounds, unless given: on the embedded server 1e-4 at
    most and 1e-5 on average; elsewhere 0.02 on average and 0.2 at the 99th percentile.

    Where the server also gives the likeliest tokens at each place, it is tested whether the sampled ones
    were drawn from that distribution: a top_k, top_p, min_p, penalty or temperature that is not on record is
    found out, and at most one honest run in 10,000 is accused. Exit codes: 0 sound; 1 a bound is exceeded, a
    token's context is not what the record says, tokens were drawn otherwise than it says, or the server
    stopped answering; 2 wrong usage; 130 interrupted.
    """
    import msgspec
    from rich.console import Console

    from rollway.errors import UserError
    from rollway.inference.errors import InferenceError
    from rollway.verification import verify_run
    from rollway.verification.table import print_report

    if json_file is not None and not json_file.parent.is_dir():
        raise UserError(f"--json {json_file}: there is no folder {json_file.parent}")
    if json_file is not None and json_file.is_dir():
        raise UserError(f"--json {json_file} is a folder: name a file")
    changes = {"base_url": base_url, "name": model, "api_key_env": api_key_env}
    bounds = {"largest": max_difference, "mean": mean_difference, "p99": p99_difference}
    try:
        report = verify_run(
            run,
            changes={name: value for name, value in changes.items() if value is not None},
            bounds={name: value for name, value in bounds.items() if value is not None},
            rollouts=rollouts,
            weight_version=weight_version,
            concurrency=concurrency,
            likeliest=likeliest,
            on_progress=_Progress(Console(stderr=True)),
        )
    except InferenceError as error:
        print(f"rollway: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    print_report(report, Console())
    if json_file is not None:
        try:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        except OSError as error:
            raise UserError(f"cannot write --json {json_file}: {error.strerror or error}") from None
    return FAILED if report.failures else 0


class _Progress:
    """A line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, rollouts: int, sequences: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            self._console.print(
                f"read {rollouts:,} rollouts, recomputed {sequences:,} sequences", highlight=False
            )
