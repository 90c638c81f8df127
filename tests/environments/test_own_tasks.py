"""What one rollout writes into its task, no other sees."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rollway.environments.own_tasks import own_copy


class Card:
    def __init__(self, suit: str) -> None:
        self.suit = suit
        self.marks: list[str] = []


@pytest.mark.parametrize(
    "task",
    [
        {"task_id": "a", "box": [1, {"deep": [2]}], "pair": ([3], "x"), "none": None},
        {"task_id": "a", "set": {1, 2}, "bytes": b"x"},
    ],
)
def test_a_copy_is_equal_and_shares_no_container(task: dict[str, Any]) -> None:
    copy = own_copy(task)
    assert copy == task
    for name, value in task.items():
        if isinstance(value, list | dict | set):
            assert copy[name] is not value


def test_changes_stay_in_the_copy() -> None:
    task: dict[str, Any] = {"task_id": "a", "box": [[]], "card": Card("spades")}
    copy = own_copy(task)
    copy["box"][0].append(1)
    copy["card"].marks.append("bent")
    copy["new"] = 1
    assert (task["box"], task["card"].marks, sorted(task)) == ([[]], [], ["box", "card", "task_id"])


def test_what_cannot_be_copied_is_shared() -> None:
    lock = threading.Lock()
    task = {"task_id": "a", "lock": lock, "box": [1]}
    copy = own_copy(task)
    assert copy["lock"] is lock
    assert copy["box"] is not task["box"]


def test_a_task_that_holds_itself_can_be_copied() -> None:
    task: dict[str, Any] = {"task_id": "a"}
    task["self"] = task
    assert own_copy(task)["self"]["task_id"] == "a"
