"""The set of keys holds what a set of tuples would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollway.evaluation.keys import KeySet

KEYS = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 70))


@given(added=st.lists(KEYS), asked=st.lists(KEYS))
def test_it_is_a_set(added: list[tuple[str, int]], asked: list[tuple[str, int]]) -> None:
    keys = KeySet(added)
    assert keys == set(added)
    assert (len(keys), sorted(keys)) == (len(set(added)), sorted(set(added)))
    assert [key in keys for key in asked] == [key in set(added) for key in asked]


def test_what_no_rollout_can_have_is_not_in_it() -> None:
    keys = KeySet([("a", 0)])
    assert ("a", -1) not in keys
    assert ("a", 10**12) not in keys
    assert "a" not in keys
