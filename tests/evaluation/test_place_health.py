"""A worker is at fault when rollouts fail on it while they succeed elsewhere, and only then."""

from __future__ import annotations

import random

import pytest

from rollway.evaluation.place_health import STREAK, PlaceHealth


def places(count: int = 2) -> PlaceHealth:
    health = PlaceHealth()
    for worker in range(count):
        health.begin(worker)
    return health


def test_a_new_worker_on_which_all_fails_is_bad_once_another_one_succeeds() -> None:
    health = places()
    for _ in range(STREAK):
        assert not health.is_bad(0)
        health.failed(0)
    assert not health.is_bad(0), "nobody knows yet whether it goes better elsewhere"
    health.succeeded(1)
    assert health.is_bad(0)
    assert not health.is_bad(1)


def test_no_worker_is_bad_when_all_fail_alike() -> None:
    health = places()
    for _ in range(1000):
        health.failed(0)
        health.failed(1)
    assert not health.is_bad(0)
    assert not health.is_bad(1)
    health.succeeded(1)
    assert not health.is_bad(0), "one success among a thousand failures says nothing"


def test_a_worker_that_has_done_many_needs_more_than_a_short_streak() -> None:
    health = places()
    health.succeeded(0)
    for _ in range(STREAK):
        health.failed(0)
        health.succeeded(1)
    assert not health.is_bad(0)
    for _ in range(STREAK):
        health.failed(0)
        health.succeeded(1)
    assert health.is_bad(0)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_faults_that_strike_all_workers_by_chance_make_none_bad(rate: float) -> None:
    rng, health = random.Random(1), places(4)
    for worker in range(4):
        health.succeeded(worker)
    for _ in range(20_000):
        worker = rng.randrange(4)
        (health.failed if rng.random() < rate else health.succeeded)(worker)
        assert not health.is_bad(worker)


def test_a_new_worker_has_few_attempts_in_flight_after_its_first_failure() -> None:
    health = places()
    assert health.may_begin(0, in_flight=100)
    health.failed(0)
    assert health.may_begin(0, in_flight=STREAK - 2)
    assert not health.may_begin(0, in_flight=STREAK - 1)
    health.succeeded(1)
    assert health.may_begin(0, in_flight=STREAK - 1)
    health.succeeded(0)
    assert health.may_begin(0, in_flight=100)
