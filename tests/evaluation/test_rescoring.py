"""A rollout that lacks only a score is scored when the run goes on, and never sampled again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer, error

from rollway.evaluation import RunFailed, evaluate_async

JUDGE = """
def judge(trajectory, task):
    if (Path(__file__).parent / "down").exists() and task["n"] % 3 == 0:
        raise ConnectionError("judge: 503")
    return right(trajectory, task)


class Sums(Environment):
    tools = [add]
    rewards = [judge]
"""
Config = Callable[..., Any]
Mend = Callable[[], None]


@pytest.fixture
def judged(edit_environment, environment_file: Path) -> Mend:
    """The judge fails for a third of the tasks, until this is called."""
    edit_environment("class Sums(Environment):\n    tools = [add]\n    rewards = [right]\n", JUDGE)
    edit_environment(
        "from rollway import Environment", "from pathlib import Path\nfrom rollway import Environment"
    )
    down = environment_file.parent / "down"
    down.touch()
    return down.unlink


async def test_what_a_judge_that_was_away_left_is_scored_and_not_sampled(
    policy, config: Config, judged: Mend, stored, tmp_path: Path
) -> None:
    first = await evaluate_async(config(policy))
    assert first.failures == {"reward_error: judge: ConnectionError": 2}
    asked, before = len(policy.requests), stored(tmp_path / "run")
    judged()
    summary = await evaluate_async(config(policy))
    assert len(policy.requests) == asked
    assert (summary.scored, summary.failed, summary.missing) == (6, 0, 0)
    after = stored(tmp_path / "run")
    assert {key: t.messages for key, t in after.items()} == {key: t.messages for key, t in before.items()}
    assert {key: t.id for key, t in after.items()} == {key: t.id for key, t in before.items()}
    assert {key: t.timing for key, t in after.items()} == {key: t.timing for key, t in before.items()}
    assert all(t.error is None and t.reward == 1.0 for t in after.values())


async def test_scores_are_made_up_for_without_a_server(
    policy, config: Config, judged: Mend, stored, tmp_path: Path
) -> None:
    await evaluate_async(config(policy))
    judged()
    summary = await evaluate_async(config("http://127.0.0.1:9"))
    assert summary.scored == 6


async def test_a_judge_that_is_still_away_leaves_the_record_as_good_as_it_was(
    policy, config: Config, judged: Mend, stored, tmp_path: Path
) -> None:
    first = await evaluate_async(config(policy))
    asked, before = len(policy.requests), stored(tmp_path / "run")
    second = await evaluate_async(config(policy))
    assert len(policy.requests) == asked
    assert second.failures == first.failures
    after = stored(tmp_path / "run")
    assert {key: t.messages for key, t in after.items()} == {key: t.messages for key, t in before.items()}


async def test_groups_get_their_advantages_with_the_last_score(
    policy, config: Config, judged: Mend, stored, tmp_path: Path
) -> None:
    await evaluate_async(config(policy, groups=True, samples=2))
    assert stored(tmp_path / "run")["train-0", 0].advantage is None
    judged()
    await evaluate_async(config(policy, groups=True, samples=2))
    assert {t.advantage for t in stored(tmp_path / "run").values()} == {0.0}


async def test_what_failed_is_sampled_and_what_lacks_a_score_is_not(
    config: Config, judged: Mend, solver, tmp_path: Path
) -> None:
    ill = True

    def sometimes(request: Any) -> Any:
        first = request.body["messages"][0]["content"]
        return error(400, "no") if ill and first.startswith("What is 1 ") else solver(request)

    async with ScriptedServer(sometimes) as server:
        summary = await evaluate_async(config(server))
        assert (summary.scored, summary.failed) == (3, 3)
        ill = False
        judged()
        asked = len(server.requests)
        summary = await evaluate_async(config(server))
        assert len(server.requests) == asked + 2, "one rollout of two turns"
    assert summary.scored == 6


async def test_rewards_that_look_into_a_sandbox_that_is_gone_sample_again(
    policy, config: Config, judged: Mend, edit_environment, stored, tmp_path: Path
) -> None:
    edit_environment("def judge(trajectory, task):", "def judge(trajectory, task, sandbox):")
    edit_environment(
        "    def prompt(self, task):",
        "    def sandbox_for(self, task):\n"
        "        from rollway.tools.sandboxes import SandboxSpec\n\n"
        "        return SandboxSpec(backend='local')\n\n"
        "    def prompt(self, task):",
    )
    await evaluate_async(config(policy))
    judged()
    asked = len(policy.requests)
    summary = await evaluate_async(config(policy))
    assert len(policy.requests) == asked + 4, "two rollouts of two turns"
    assert summary.scored == 6


async def test_rewards_look_into_a_sandbox_that_was_kept(
    policy, config: Config, judged: Mend, edit_environment, stored, tmp_path: Path
) -> None:
    edit_environment("def judge(trajectory, task):", "async def judge(trajectory, task, sandbox):")
    edit_environment(
        "    return right(trajectory, task)\n\n\nclass",
        "    return (await sandbox.read('seen')) == str(task['n']).encode()\n\n\nclass",
    )
    edit_environment(
        "    def prompt(self, task):",
        "    def sandbox_for(self, task):\n"
        "        from rollway.tools.sandboxes import SandboxSpec\n\n"
        "        return SandboxSpec(backend='local')\n\n"
        "    async def prepare_sandbox(self, task, sandbox):\n"
        "        await sandbox.write('seen', str(task['n']).encode())\n\n"
        "    def prompt(self, task):",
    )
    recording = config(policy, tools={"record": True})
    await evaluate_async(recording)
    judged()
    asked = len(policy.requests)
    summary = await evaluate_async(recording)
    assert len(policy.requests) == asked
    assert (summary.scored, summary.mean_reward.mean) == (6, 1.0)


async def test_a_judge_that_stays_away_stops_the_run_with_a_reason(
    policy, config: Config, judged: Mend, stored, tmp_path: Path
) -> None:
    await evaluate_async(config(policy))
    with pytest.raises(RunFailed, match=r"2 rollouts failed in a row.*judge: 503"):
        await evaluate_async(config(policy, stop_after_failures=2))
    assert len(stored(tmp_path / "run")) == 6
