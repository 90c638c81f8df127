"""``rollway rollout``."""

from __future__ import annotations

from rollway.cli.run_command import run_command

run = run_command(
    groups=True,
    help="""Roll out groups of samples to train on, with the advantage of each sample in its group.

    \b
    Examples:
      rollway rollout calculator-train
      rollway rollout calculator --tasks 64 --samples 8 --temperature 1.0
      rollway rollout my_env.py --samples 16 --base-url http://127.0.0.1:8000

    The same as eval, but on the split "train" unless the config says otherwise, and with group_id and
    advantage in the trajectories: the reward minus the mean reward of the task's scored samples, filled in
    when all samples of a task are on record.
    """,
)
