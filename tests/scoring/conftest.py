"""A stored run of an environment in a user's file."""

import textwrap
from pathlib import Path

import msgspec
import pytest
import yaml
from sample_trajectories import failed_trajectory, make_trajectory, unscored_trajectory

from rollway.trajectory import encode_trajectory

ENVIRONMENT = """
    from rollway import Environment

    def right(trajectory, task):
        return float(task["answer"] in trajectory.messages[-1]["content"])

    class Sums(Environment):
        name = "sums"
        rewards = [right]

        def __init__(self, offset=0):
            self.offset = offset

        def tasks(self, split):
            if split != "test":
                raise ValueError(f"no split {split!r}; there is: test")
            for i in range(6):
                yield {"task_id": f"t{i}", "answer": str(5 + i % 2 + self.offset)}

        def prompt(self, task):
            return [{"role": "user", "content": "What is 2 + 3?"}]
"""
"""The stored answers are all 5, so the tasks with even numbers are answered right."""

REWARDS = """
    import asyncio

    def twice(trajectory, task):
        return 2.0 * (task["answer"] in trajectory.messages[-1]["content"])

    def turns(trajectory):
        return len(trajectory.turns)

    async def judged(trajectory, task):
        await asyncio.sleep(0)
        return 0.5

    def fussy(trajectory, task):
        if task["task_id"] == "t1":
            raise LookupError("no such thing")
        return 1.0

    def _hidden(trajectory, task):
        return 0.0

    NUMBER = 3
"""


class StoredRun:
    """A run directory that a test writes into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "trajectories").mkdir(parents=True)
        self.environment = path.parent / "sums.py"
        self.rewards = path.parent / "my_rewards.py"
        self.environment.write_text(textwrap.dedent(ENVIRONMENT))
        self.rewards.write_text(textwrap.dedent(REWARDS))
        self.config(environment=str(self.environment), split="test", samples=2)

    def config(self, **fields):
        (self.path / "config.yaml").write_text(yaml.safe_dump(fields))

    def asked(self, asked, samples):
        (self.path / "summary.json").write_bytes(msgspec.json.encode({"asked": asked, "samples": samples}))

    def part(self, number, trajectories, *, torn=b""):
        lines = b"".join(encode_trajectory(trajectory) + b"\n" for trajectory in trajectories)
        (self.path / "trajectories" / f"part-{number:05d}.jsonl").write_bytes(lines + torn)

    def write(self, file, text):
        path = self.path.parent / file
        path.write_text(textwrap.dedent(text))
        return path

    def files(self):
        """Everything in the run but scores, with its content."""
        return {
            file: file.read_bytes()
            for file in self.path.rglob("*")
            if file.is_file() and "scores" not in file.parts
        }

    def scores(self):
        return sorted(file.name for file in (self.path / "scores").glob("*"))

    def rows(self, name):
        lines = (self.path / "scores" / f"{name}.jsonl").read_bytes().splitlines()
        return [msgspec.json.decode(line) for line in lines]


@pytest.fixture
def stored_run(tmp_path):
    """Three tasks with two samples: four were scored (all 1.0), one failed, the reward of one raised."""
    run = StoredRun(tmp_path / "runs" / "sums-1")
    run.part(0, [make_trajectory("t0", 0), make_trajectory("t0", 1), make_trajectory("t1", 0)])
    run.part(1, [failed_trajectory("t1", 1), unscored_trajectory("t2", 0), make_trajectory("t2", 1)])
    return run
