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
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory to verify.", show_default=False)],
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Server with the same weights. [default: the run's own server]"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model name on the server. [default: the run's]")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds the API key.")
    ] = None,
    max_difference: Annotated[
        float | None, typer.Option(min=0.0, metavar="NATS", help="Limit on the largest difference, in nats.")
    ] = None,
    mean_difference: Annotated[
        float | None, typer.Option(min=0.0, metavar="NATS", help="Limit on the mean difference, in nats.")
    ] = None,
    p99_difference: Annotated[
        float | None, typer.Option(min=0.0, metavar="NATS", help="Limit on the 99th percentile, in nats.")
    ] = None,
    rollouts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Verify only the first N rollouts. [default: all]")
    ] = None,
    weight_version: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Verify only tokens sampled by this version of the weights."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Limit on sequences in flight.")] = 32,
    likeliest: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Likeliest tokens to request at each place; 0 skips the test of the drawing.",
        ),
    ] = 20,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the report to this file.")
    ] = None,
) -> int:
    """Recompute the logprob of every sampled token of a run and compare it with the recorded one.

    \b
    Examples:
      rollway verify runs/calculator-20260101-120000
      rollway verify runs/my-run --base-url http://127.0.0.1:8000 --model Qwen/Qwen3-8B
      rollway verify runs/my-run --weight-version step-40 --json verified.json

    Sends each sequence once to a server that returns prompt logprobs: vLLM, SGLang, or the embedded
    server. For a run of the embedded policy it starts that server itself.

    Default limits: 1e-4 (largest) and 1e-5 (mean) on the embedded server; 0.02 (mean) and 0.2 (99th
    percentile) on other servers.

    If the server returns the likeliest tokens at each place, it also tests whether the sampled tokens were
    drawn from that distribution. It finds an unrecorded top_k, top_p, min_p, penalty or temperature, and
    accuses at most one honest run in 10,000.

    Exit codes: 0 the records are sound; 1 a limit is exceeded, a token's recorded context is wrong, tokens
    were not drawn as recorded, or the server stopped answering; 2 usage error; 130 interrupted.
    """
    import msgspec
    from rich.console import Console

    from rollway.errors import UserError
    from rollway.inference.errors import InferenceError
    from rollway.verification import verify_run
    from rollway.verification.table import print_report

    if json_file is not None and not json_file.parent.is_dir():
        raise UserError(f"--json {json_file}: no folder {json_file.parent}")
    if json_file is not None and json_file.is_dir():
        raise UserError(f"--json {json_file} is a folder; give a file name")
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
    """Progress: a line every `LINE_SECONDS`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + LINE_SECONDS

    def __call__(self, rollouts: int, sequences: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            self._console.print(
                f"read {rollouts:,} rollouts, recomputed {sequences:,} sequences", highlight=False
            )
