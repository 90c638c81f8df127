"""The policy of a chaos run is one function, everywhere and always."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from rollway.chaos.faults import Plan
from rollway.chaos.script import Script, expected_rewards, message_ids, prompt_ids

SAY = "from rollway.chaos.script import Script; print(Script(5, 0.1, 0.2).reply('000007', 99, 0))"


def test_a_reply_is_the_same_in_every_process() -> None:
    said = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(Script(5, 0.1, 0.2).reply("000007", 99, 0))


def test_conversations_end_by_themselves_and_their_calls_are_unique() -> None:
    script = Script(1, failing=0.1, sandboxes=0.2)
    for number in range(300):
        turns = script.conversation(f"{number:06d}", partial(int.__add__, number * 3))
        assert 2 <= len(turns) <= 3
        assert not turns[-1].calls
        assert all(turn.calls for turn in turns[:-1])
        names = [call.id for turn in turns for call in turn.calls]
        assert len(set(names)) == len(names)


def test_the_policy_is_right_in_about_six_of_ten() -> None:
    script = Script(2)
    rewards = [
        expected_rewards(task, script.conversation(task, partial(int.__add__, n * 3)))["right"]
        for n, task in enumerate(f"{number:06d}" for number in range(1000))
    ]
    assert 0.55 < sum(rewards) / len(rewards) < 0.65


def test_a_longer_prompt_begins_with_the_shorter_one_and_its_reply() -> None:
    script = Script(2)
    first = script.reply("000001", 4, 0)
    before = [{"role": "user", "content": "Task 000001: ..."}]
    after = [*before, first.message(), {"role": "tool", "tool_call_id": "x", "content": "1"}]
    known = prompt_ids(before, None) + message_ids(first.message())
    assert prompt_ids(after, None)[: len(known)] == known


def test_a_reply_is_struck_three_times_at_most_and_then_never() -> None:
    plan = Plan(seed=4, rates={"replies": 0.5})
    struck = 0
    for key in range(200):
        faults = [plan.reply_fault(arrival, key) for arrival in range(5)]
        times = sum(fault is not None for fault in faults)
        assert times <= 3
        assert all(faults[:times])
        assert not any(faults[times:])
        struck += times > 0
    assert 70 < struck < 130
