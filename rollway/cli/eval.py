"""``rollway eval``."""

from __future__ import annotations

from rollway.cli.run_command import FIELDS, run_command

run = run_command(
    groups=False,
    help=f"""Evaluate a model on an environment and report its score with a 95% confidence interval.

    \b
    Examples:
      rollway eval calculator
      rollway eval calculator --base-url http://127.0.0.1:8000 --model Qwen/Qwen3-8B --workers 8
      rollway eval my_env.py --set limits.max_turns=8 --set sampling.top_p=0.95
      rollway eval my_env.py --data tasks.jsonl
      rollway eval my_env.py --data openai/gsm8k --set data.name=main --split test
      rollway eval --resume runs/calculator-20260101-120000

    The run directory holds config.yaml, trajectories/, summary.json, report.html and log.txt (the log). To
    resume an interrupted run, pass its directory to --resume, or repeat the command with the same --out.
    Finished rollouts are kept; failed and missing ones are retried.

    {FIELDS}

    A config can change the defaults shown here. Options override the config, and --set overrides options.

    Exit codes: 0 success, 1 run failed, 2 usage error, 130 interrupted.
    """,
)
