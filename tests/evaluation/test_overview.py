"""A run at one moment, put together from what its workers say."""

from __future__ import annotations

from rollway.evaluation.overview import Overview, RolloutStatus, merged_servers, oldest_of
from rollway.inference.server_report import ServerReport

HERE, THERE = "http://here:8000", "http://there:8000"


def test_the_reports_of_several_workers_on_one_server_are_one() -> None:
    found = merged_servers(
        [
            ServerReport(address=HERE, in_flight=3, limit=8),
            ServerReport(address=THERE, in_flight=1),
            ServerReport(address=HERE, state="away", since=50.0, reason="refused", waiting=20, limit=8),
            ServerReport(address=HERE, state="away", since=40.0, reason="refused", waiting=30, limit=4),
            ServerReport(address=HERE, state="overloaded", since=1.0, waiting=1, limit=1),
        ]
    )
    assert found == [
        ServerReport(
            address=HERE, state="away", since=40.0, reason="refused", waiting=51, in_flight=3, limit=21
        ),
        ServerReport(address=THERE, in_flight=1),
    ]
    told = Overview(servers=found).troubles(now=71.0)
    assert told == [f"server {HERE} away for 31 s, 51 calls wait"], "what is up is not told"


def test_the_oldest_rollouts_come_first() -> None:
    rollouts = [RolloutStatus(task_id=str(n), sample_index=0, age=float(n)) for n in range(9)]
    assert [rollout.task_id for rollout in oldest_of(rollouts)] == ["8", "7", "6", "5", "4"]


def test_a_rollout_is_told_with_its_phase_or_its_age() -> None:
    rollout = RolloutStatus(task_id="17", sample_index=0, age=412.0, phase="tools", phase_seconds=300.4)
    assert rollout.told() == "task '17' sample 0, 300 s in tools"
    waiting = RolloutStatus(task_id="a", sample_index=2, age=61.0, waits=["server_away"])
    assert waiting.told() == "task 'a' sample 2, 61 s old, waiting for server_away"
