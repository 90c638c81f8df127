"""Advantages of the groups of a finished run, entered into the records on disk.

A group is the samples of one task. Its advantages are written when every sample of it is on record: reward
minus the mean reward of the group's scored samples, see `rollway.statistics.group_advantages`. Records are
written as rollouts end, so that nothing is lost, and get their advantage in one pass at the end; done again
it changes nothing.
"""

from __future__ import annotations

from rollway.evaluation.run_directory import TORN, RunDirectory, decode_ending, is_failed, part_files
from rollway.keys import Key
from rollway.statistics import group_advantages
from rollway.trajectory import decode_trajectory, encode_trajectory


def fill_advantages(run: RunDirectory, *, samples: int) -> None:
    """Enter the advantages of all complete groups of ``samples`` rollouts, and take away stale ones.

    A torn line stays as it is, for the next driver to set aside.
    """
    advantages = _advantages(_rewards(run), samples)

    def enter(line: bytes) -> bytes:
        try:
            trajectory = decode_trajectory(line)
        except TORN:
            return line
        advantage = advantages.get((trajectory.task_id, trajectory.sample_index))
        if trajectory.advantage == advantage:
            return line
        trajectory.advantage = advantage
        return encode_trajectory(trajectory) + b"\n"

    run.rewrite(enter)


def _rewards(run: RunDirectory) -> dict[str, dict[int, float | None]]:
    """Task to sample to reward; ``None`` where the rollout failed."""
    rewards: dict[str, dict[int, float | None]] = {}
    for part in part_files(run.path):
        with part.open("rb") as file:
            for line in file:
                try:
                    ending = decode_ending(line)
                except TORN:
                    continue
                reward = None if is_failed(ending) else ending.reward
                rewards.setdefault(ending.task_id, {})[ending.sample_index] = reward
    return rewards


def _advantages(rewards: dict[str, dict[int, float | None]], samples: int) -> dict[Key, float | None]:
    advantages: dict[Key, float | None] = {}
    for task_id, group in rewards.items():
        if len(group) == samples:
            values = group_advantages(list(group.values()))
            advantages |= {(task_id, sample): value for sample, value in zip(group, values, strict=True)}
    return advantages
