"""The set of keys holds what a set of tuples would."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from rollway import keys as keys_module
from rollway.keys import KeySet

KEYS = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 70))


@given(added=st.lists(KEYS), asked=st.lists(KEYS), tasks=st.lists(st.sampled_from("abcd")))
def test_it_is_a_set(added: list[tuple[str, int]], asked: list[tuple[str, int]], tasks: list[str]) -> None:
    keys = KeySet(added, tasks=tasks)
    assert keys == set(added)
    assert (len(keys), sorted(keys)) == (len(set(added)), sorted(set(added)))
    assert [key in keys for key in asked] == [key in set(added) for key in asked]


def test_what_no_rollout_can_have_is_not_in_it() -> None:
    keys = KeySet([("a", 0)])
    assert ("a", -1) not in keys
    assert ("a", 10**12) not in keys
    assert "a" not in keys


def test_keys_of_tasks_that_it_was_made_for_take_no_more_memory() -> None:
    tasks = [str(number) for number in range(1000)]
    keys = KeySet(tasks=tasks)
    tracemalloc.start()
    try:
        for task_id in tasks:
            keys.add((task_id, 0))
        taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, keys_module.__file__)])
    finally:
        tracemalloc.stop()
    assert sum(trace.size for trace in taken.traces) < 1000
