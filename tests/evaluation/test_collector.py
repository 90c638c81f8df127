"""Collecting rarely ends with the run, and still finds cycles."""

from __future__ import annotations

import gc
import weakref

from rollway.evaluation.collector import THRESHOLDS, collecting_rarely


class Node:
    def __init__(self) -> None:
        self.me = self


def test_settings_are_as_they_were_afterwards_also_after_a_fault() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    try:
        with collecting_rarely():
            assert gc.get_threshold() == THRESHOLDS
            assert gc.get_freeze_count() > 0
            raise KeyError
    except KeyError:
        pass
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_a_cycle_that_is_dropped_meanwhile_is_found() -> None:
    with collecting_rarely():
        seen = weakref.ref(Node())
        kept = []
        while seen() is not None:
            kept.append([])
            assert len(kept) < 10 * THRESHOLDS[0]


def test_what_somebody_else_set_aside_stays_so() -> None:
    gc.freeze()
    try:
        with collecting_rarely():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
