"""``rollway export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run directory.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="A .parquet file, a .jsonl file, or a new folder of Parquet files.",
            show_default=False,
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of this name.")] = False,
) -> int:
    """Write the rollouts of a run to Parquet or JSON Lines: one row each, with a fixed schema.

    \b
    Examples:
      rollway export runs/calculator-20260101-120000 --to rollouts.parquet
      rollway export runs/calculator-20260101-120000 --to rollouts.jsonl
      rollway export runs/calculator-20260101-120000 --to rollouts/

    A row has the messages, the rewards, why the rollout ended, and the token sequences with their loss masks
    and logprobs; docs/data.md lists all columns. Failed rollouts are among them, with their stop_reason and
    no reward. datasets.load_dataset("parquet", data_files="rollouts.parquet") reads it. Exit codes: 0 done,
    2 wrong usage.
    """
    from rollway.export import export_run

    done = export_run(run, to, overwrite=overwrite)
    torn = f" ({done.torn_lines} torn lines left out)" if done.torn_lines else ""
    print(
        f"{done.rollouts:,} rollouts{torn}, {done.sequences:,} sequences, {done.tokens:,} tokens of which "
        f"{done.sampled_tokens:,} were sampled: {to}"
    )
    return 0
