"""``rollway rollout``."""

from __future__ import annotations

from rollway.cli.run_command import FIELDS, run_command

run = run_command(
    groups=True,
    help=f"""Roll out groups of samples for training, with an advantage for each sample.

    \b
    Examples:
      rollway rollout calculator-train
      rollway rollout calculator --tasks 64 --samples 8 --temperature 1.0
      rollway rollout my_env.py --samples 16 --base-url http://127.0.0.1:8000
      rollway rollout --resume runs/calculator-20260101-120000

    Works like eval, but uses the "train" split by default and sets group_id and advantage in each trajectory.
    The samples of a task form a group. The advantage is the reward minus the mean reward of the group's
    scored samples; it is set once all samples of the group are on disk.

    {FIELDS}

    A config can change the defaults shown here. Options override the config, and --set overrides options.

    Exit codes: 0 success, 1 run failed, 2 usage error, 130 interrupted.
    """,
)
