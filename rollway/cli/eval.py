"""``rollway eval``."""

from __future__ import annotations

from rollway.cli.run_command import run_command

run = run_command(
    groups=False,
    help="""Evaluate a model on an environment: every task so many times, and a score with its interval.

    \b
    Examples:
      rollway eval calculator
      rollway eval calculator --base-url http://127.0.0.1:8000 --model Qwen/Qwen3-8B --workers 8
      rollway eval my_env.py --set limits.max_turns=8 --set sampling.top_p=0.95
      rollway eval my_env.py --data tasks.jsonl
      rollway eval my_env.py --data openai/gsm8k --set data.name=main --split test
      rollway eval --resume runs/calculator-20260101-120000

    Without --base-url the embedded policy is served for the time of the run. The run directory holds
    config.yaml, trajectories, summary.json, report.html and log.txt; a run that was cut short is gone on
    with by --resume, or by the same command with the same --out. Exit codes: 0 done, 1 failed, 2 wrong usage,
    130 interrupted.
    """,
)
