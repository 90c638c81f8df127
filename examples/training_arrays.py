"""What a trainer gets from groups of rollouts. Nothing is trained here.

    python examples/training_arrays.py

The weak embedded policy solves a few calculator tasks, several times each. Each rollout's advantage is its
reward minus the mean of its group, and the sequences of all rollouts are packed into rows for one step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import groupby

from tokenizers import Tokenizer

from rollway import Limits, Sampling, ToolPool, Trajectory
from rollway.embedded.policy import find_policy
from rollway.environments.calculator import CalculatorEnvironment
from rollway.evaluation.rollout import new_trajectory, run_rollout
from rollway.export import Batch, TokenArrays, pack, shift, trajectory_arrays, truncate
from rollway.inference import ChatClient
from rollway.inference.launch import launch_embedded
from rollway.statistics import group_advantages

POLICY = "calculator-weak"
TASKS, SAMPLES = 4, 6
LENGTH = 1024  # tokens of a row
PAD = 0


async def roll_out() -> list[list[Trajectory]]:
    """Groups of rollouts, one group for each task."""
    environment = CalculatorEnvironment()
    async with launch_embedded(POLICY) as base_url, ChatClient(base_url, POLICY) as client:
        with ToolPool(16) as pool:

            async def one(task: dict, sample: int) -> Trajectory:
                return await run_rollout(
                    environment,
                    task,
                    client=client,
                    pool=pool,
                    limits=Limits(max_turns=8),
                    sampling=Sampling(temperature=1.0, max_tokens=256),
                    trajectory=new_trajectory(environment, task, sample_index=sample, seed=sample),
                )

            tasks = environment.tasks("train")[:TASKS]
            groups = [asyncio.gather(*(one(task, sample) for sample in range(SAMPLES))) for task in tasks]
            return [list(group) for group in await asyncio.gather(*groups)]


def set_advantages(groups: list[list[Trajectory]]) -> None:
    """Reward minus the mean of the group; a rollout that was not scored has none and is left out below."""
    for group in groups:
        advantages = group_advantages([trajectory.reward for trajectory in group])
        for trajectory, advantage in zip(group, advantages, strict=True):
            trajectory.advantage = advantage


def picture(arrays: TokenArrays, tokenizer: Tokenizer) -> Iterator[str]:
    """One sequence: context in a line, sampled tokens one by one, each with its mask and logprob."""
    for sampled, places in groupby(range(len(arrays)), key=lambda place: bool(arrays.loss_mask[place])):
        run = list(places)
        if sampled:
            for place in run:
                text = tokenizer.decode([int(arrays.token_ids[place])], skip_special_tokens=False)
                yield f"  {text!r:<38} mask 1  logprob {arrays.logprobs[place]:8.4f}"
        else:
            text = tokenizer.decode(arrays.token_ids[run].tolist(), skip_special_tokens=False)
            yield f"  {len(run)} tokens of context, mask 0: ...{text[-50:]!r}"


def describe(batch: Batch) -> Iterator[str]:
    """Names, types and shapes of what goes into a training step."""
    targets = shift(batch)
    for name in ("token_ids", "position_ids", "segment_ids"):
        values = getattr(batch, name)
        yield f"  {name:<20} {values.dtype!s:<8} {values.shape}"
    for name in ("token_ids", "loss_mask", "logprobs", "advantages", "turn_index"):
        values = getattr(targets, name)
        yield f"  targets.{name:<12} {values.dtype!s:<8} {values.shape}"
    yield f"  {int(targets.loss_mask.sum())} tokens to train on; {batch.fill:.0%} of the places hold a token"


def main() -> None:
    """Roll out, and print what a trainer would read."""
    groups = asyncio.run(roll_out())
    set_advantages(groups)
    print("groups")
    for group in groups:
        rewards = " ".join(
            f"{trajectory.reward:5.2f}" for trajectory in group if trajectory.reward is not None
        )
        advantages = " ".join(f"{t.advantage:+.2f}" for t in group if t.advantage is not None)
        print(f"  {group[0].task_id}: rewards {rewards}, advantages {advantages}")

    trained = [t for group in groups for t in group if t.advantage is not None]
    sequences = [arrays for trajectory in trained for arrays in trajectory_arrays(trajectory)]
    sequences, cut = truncate(sequences, LENGTH)
    batch = pack(sequences, length=LENGTH, pad_id=PAD)
    print(f"\none step: {len(sequences)} sequences of {len(trained)} rollouts in {len(batch.origins)} rows")
    print("\n".join(describe(batch)))
    print(f"  {cut.sampled_tokens} sampled tokens were cut at {LENGTH} tokens")

    shown = next((t for t in trained if len(t.turns) > 1 and t.advantage), trained[0])
    print(f"\none sequence: {shown.task_id}, sample {shown.sample_index}, advantage {shown.advantage:+.2f}")
    tokenizer = Tokenizer.from_file(str(find_policy(POLICY) / "tokenizer.json"))
    print("\n".join(picture(trajectory_arrays(shown)[0], tokenizer)))


if __name__ == "__main__":
    main()
