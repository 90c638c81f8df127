"""The one retry layer: how often, how long between, and what is on record."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest

from rollway.clock import RolloutClock
from rollway.inference.errors import (
    BadRequest,
    InferenceError,
    ModelNotFound,
    NoReplyInTime,
    ServerOverloaded,
    ServerUnreachable,
)
from rollway.inference.gate import GateTimes, ServerGate
from rollway.inference.presence import Found, Presence
from rollway.inference.protocol import Completion
from rollway.inference.retry import DEFAULT_RETRY, RetryPolicy, parse_retry_after, with_retries
from rollway.inference.tries import TryFailed, TryFault


def overloaded(retry_after: float | None = None) -> TryFailed:
    return TryFailed(ServerOverloaded("busy", status=503), retry=True, retry_after=retry_after)


class Run:
    """Runs a list of outcomes through the retry layer on a clock of its own."""

    def __init__(self, *outcomes: TryFailed | Completion, policy: RetryPolicy = DEFAULT_RETRY) -> None:
        self.outcomes = list(outcomes)
        self.policy = policy
        self.numbers: list[int] = []
        self.delays: list[float] = []

    async def attempt(self, number: int) -> Completion:
        self.numbers.append(number)
        outcome = self.outcomes[number]
        if isinstance(outcome, TryFailed):
            raise outcome
        return outcome

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)

    async def __call__(self, deadline: float | None = None) -> Completion:
        return await with_retries(
            self.attempt,
            self.policy,
            server="http://s",
            deadline=deadline,
            rng=random.Random(0),
            sleep=self.sleep,
        )

    async def error(self, deadline: float | None = None) -> InferenceError:
        with pytest.raises(InferenceError) as raised:
            await self(deadline)
        return raised.value


async def test_a_reply_at_once_has_no_failed_tries() -> None:
    run = Run(Completion(content="7"))
    completion = await run()
    assert (completion.content, completion.attempts, run.delays) == ("7", [], [])


async def test_every_failed_try_before_the_kept_one_is_on_record() -> None:
    broken = TryFailed(ServerUnreachable("broken"), retry=True)
    completion = await Run(overloaded(), broken, Completion())()
    assert [(a.error, a.message, a.status) for a in completion.attempts] == [
        ("ServerOverloaded", "busy", 503),
        ("ServerUnreachable", "broken", None),
    ]


@pytest.mark.parametrize("tries", [1, 2, 5])
async def test_a_failure_that_lasts_is_tried_exactly_as_often_as_allowed(tries: int) -> None:
    run = Run(*[overloaded()] * 9, policy=RetryPolicy(tries=tries))
    error = await run.error()
    assert type(error) is ServerOverloaded
    assert run.numbers == list(range(tries))
    assert len(error.attempts) == tries
    assert len(run.delays) == tries - 1
    assert error.status == 503


async def test_a_failure_that_must_not_be_repeated_is_tried_once() -> None:
    run = Run(TryFailed(BadRequest("no", status=400), retry=False), Completion())
    error = await run.error()
    assert (run.numbers, str(error), [a.error for a in error.attempts]) == ([0], "no", ["BadRequest"])


async def test_the_message_of_the_last_failure_says_how_often_it_was_tried() -> None:
    assert (
        str(await Run(*[overloaded()] * 3, policy=RetryPolicy(tries=3)).error())
        == "busy (gave up after 3 tries)"
    )


def moments(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Let time pass with ``run``'s pauses only."""
    now = [1000.0]

    async def sleep(seconds: float) -> None:
        run.delays.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run.sleep = sleep  # type: ignore[method-assign]


@pytest.mark.parametrize("fault", [TryFault.AWAY, TryFault.UNAVAILABLE, TryFault.TIMED_OUT])
async def test_what_time_may_mend_is_tried_until_patience_is_used_up(
    fault: TryFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = TryFailed(ServerUnreachable("gone"), fault=fault)
    run = Run(*[gone] * 999, policy=RetryPolicy(tries=2, patience=100.0))
    moments(monkeypatch, run)
    error = await run.error()
    assert sum(run.delays) == pytest.approx(100.0)
    assert "tries in 100 s" in str(error)


async def test_garbage_is_tried_a_few_times_however_much_patience_there_is() -> None:
    run = Run(*[TryFailed(ServerOverloaded("oops", status=500))] * 9, policy=RetryPolicy(tries=3))
    await run.error()
    assert len(run.numbers) == 3


async def test_a_request_at_which_the_connection_breaks_each_time_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = TryFailed(ServerUnreachable("broken"), fault=TryFault.BROKEN)
    run = Run(*[broken] * 999, policy=RetryPolicy(tries=3, patience=1e9))
    moments(monkeypatch, run)
    await run.error()
    assert len(run.numbers) == 4 * 3


async def test_a_request_that_kills_its_server_each_time_is_given_up_sooner() -> None:
    numbers: list[int] = []

    async def probe(seconds: float) -> Found:
        listening = len(numbers) % 2 == 0  # it is gone at the first probe after each crash
        numbers.append(-1)
        return Found(Presence.THERE if listening else Presence.REFUSED)

    async def attempt(number: int) -> Completion:
        numbers[:] = [-1]
        kills.append(number)
        raise TryFailed(ServerUnreachable("broken"), fault=TryFault.BROKEN)

    kills: list[int] = []
    times = GateTimes(first_pause=0.001, longest_pause=0.001)
    gate = ServerGate("http://s", probe, patience=60.0, times=times)
    policy = RetryPolicy(tries=3, first_delay=0.05)
    with pytest.raises(ServerUnreachable, match="gave up after 3 tries"):
        await with_retries(attempt, policy, server="http://s", rng=random.Random(), gate=gate)
    assert gate.outages == len(kills) == 3
    assert gate.report().in_flight == 0
    gate.close()


async def test_patience_of_zero_leaves_it_to_the_tries() -> None:
    gone = TryFailed(ServerUnreachable("gone"), fault=TryFault.AWAY)
    run = Run(*[gone] * 9, policy=RetryPolicy(tries=3, patience=0))
    await run.error()
    assert len(run.numbers) == 3


async def test_the_record_of_many_tries_stays_short_and_counts_them() -> None:
    broken = TryFailed(ServerUnreachable("broken"), fault=TryFault.BROKEN)
    busy = TryFailed(ServerOverloaded("bad gateway", status=502), fault=TryFault.UNAVAILABLE)
    run = Run(broken, *[busy] * 500, broken, *[busy] * 500, Completion())
    attempts = (await run()).attempts
    assert len(attempts) <= 10
    assert sum(attempt.times for attempt in attempts) == 1002
    assert {attempt.error for attempt in attempts} == {"ServerOverloaded", "ServerUnreachable"}


async def test_failed_tries_and_pauses_are_waits_of_the_rollout() -> None:
    clock = RolloutClock()

    async def attempt(number: int) -> Completion:
        await asyncio.sleep(0.02)
        if number == 0:
            raise TryFailed(ServerUnreachable("broken"), fault=TryFault.BROKEN)
        if number == 1:
            raise overloaded_429
        return Completion()

    overloaded_429 = TryFailed(ServerOverloaded("busy", status=429), fault=TryFault.OVERLOADED)
    policy = RetryPolicy(first_delay=0.02)
    await with_retries(attempt, policy, server="http://s", rng=random.Random(), clock=clock)
    waits = clock.seconds()
    assert sorted(waits) == ["overload", "retry"]
    assert min(waits.values()) >= 0.03
    assert clock.age() - clock.working() >= 0.06


async def test_a_refused_request_is_no_wait() -> None:
    clock = RolloutClock()

    async def attempt(number: int) -> Completion:
        await asyncio.sleep(0.01)
        raise TryFailed(BadRequest("no"), retry=False)

    with pytest.raises(BadRequest):
        await with_retries(attempt, RetryPolicy(), server="http://s", rng=random.Random(), clock=clock)
    assert clock.seconds() == {}


async def test_what_a_call_gave_up_with_names_its_request_and_keeps_its_own_fields() -> None:
    async def attempt(number: int) -> Completion:
        error = ModelNotFound("no such model")
        error.served = ["a"]
        raise TryFailed(error)

    policy = RetryPolicy(first_delay=0.0)
    with pytest.raises(ModelNotFound) as raised:
        await with_retries(attempt, policy, server="http://s", rng=random.Random(), request_id="r-1")
    assert (raised.value.request_id, raised.value.served) == ("r-1", ["a"])


async def test_delays_double_up_to_the_longest_and_are_jittered() -> None:
    run = Run(*[overloaded()] * 6, policy=RetryPolicy(tries=6, first_delay=1.0, max_delay=5.0))
    await run.error()
    for delay, full in zip(run.delays, [1.0, 2.0, 4.0, 5.0, 5.0], strict=True):
        assert full / 2 <= delay <= full
    assert len(set(run.delays)) == 5


async def test_retry_after_is_waited_for_and_not_much_longer() -> None:
    run = Run(overloaded(20.0), overloaded(0.0), Completion(), policy=RetryPolicy(first_delay=1.0))
    await run()
    assert 20.0 <= run.delays[0] <= 22.0
    assert 1.0 <= run.delays[1] <= 2.0


async def test_a_server_that_asks_for_too_long_a_wait_is_given_up_at_once() -> None:
    run = Run(overloaded(301.0), Completion(), policy=RetryPolicy(max_retry_after=300.0))
    error = await run.error()
    assert (type(error), run.numbers) == (ServerOverloaded, [0])


async def test_no_try_is_begun_after_the_deadline() -> None:
    run = Run(overloaded(50.0), Completion())
    error = await run.error(deadline=time.monotonic() + 10.0)
    assert (type(error), run.numbers, run.delays) == (ServerOverloaded, [0], [])


async def test_nothing_is_sent_when_the_deadline_has_passed_before() -> None:
    run = Run(Completion())
    error = await run.error(deadline=time.monotonic() - 1.0)
    assert (type(error), run.numbers, error.attempts) == (NoReplyInTime, [], [])


async def test_a_try_that_runs_at_the_deadline_is_cut_off_and_on_record() -> None:
    cancelled = asyncio.Event()
    begun: list[float] = []

    async def attempt(number: int) -> Completion:
        begun.append(time.monotonic())
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Completion()

    deadline = time.monotonic() + 0.2
    with pytest.raises(NoReplyInTime, match="deadline") as raised:
        await with_retries(attempt, RetryPolicy(), server="http://s", deadline=deadline, rng=random.Random())
    assert cancelled.is_set()
    assert len(raised.value.attempts) == len(begun) == 1
    assert raised.value.attempts[0].duration >= deadline - begun[0] - 0.001


async def test_cancelling_between_two_tries_begins_no_other() -> None:
    asleep = asyncio.Event()
    numbers: list[int] = []

    async def attempt(number: int) -> Completion:
        numbers.append(number)
        raise overloaded()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(
        with_retries(attempt, RetryPolicy(), server="http://s", rng=random.Random(), sleep=sleep)
    )
    await asyncio.wait_for(asleep.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert numbers == [0]


async def test_an_error_of_the_program_is_not_tried_again() -> None:
    calls: list[int] = []

    async def attempt(number: int) -> Completion:
        calls.append(number)
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await with_retries(attempt, RetryPolicy(), server="http://s", rng=random.Random())
    assert calls == [0]


async def test_a_timeout_of_the_program_is_not_taken_for_the_deadline() -> None:
    async def attempt(number: int) -> Completion:
        raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="of something else"):
        await with_retries(
            attempt, RetryPolicy(), server="http://s", deadline=time.monotonic() + 60, rng=random.Random()
        )


async def test_the_time_before_the_kept_try_is_its_time_in_the_queue() -> None:
    run = Run(overloaded(), Completion())
    pause = 0.05

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(pause)

    run.sleep = sleep  # type: ignore[method-assign]
    timing = (await run()).timing
    assert pause * 0.9 <= timing.queued <= timing.total
    assert timing.first_token is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("1.5", 1.5),
        (formatdate(1000.0 + 30, usegmt=True), 30.0),
        (formatdate(1000.0 - 30, usegmt=True), 0.0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Wed, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=1000.0) == seconds


def test_a_date_counts_from_now() -> None:
    assert 55 < (parse_retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy(tries=0),
        lambda: RetryPolicy(first_delay=-1.0),
        lambda: RetryPolicy(max_retry_after=-1.0),
        lambda: RetryPolicy(patience=-1.0),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make: Callable[[], RetryPolicy]) -> None:
    with pytest.raises(ValueError, match="must"):
        make()
