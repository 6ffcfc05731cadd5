"""Token buckets: never more than the burst and the rate allow, under a clock that the test moves."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rates import Bucket, Rates

steps = st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 8.0)), max_size=60)
rates_and_bursts = st.tuples(st.floats(0.01, 100.0), st.floats(1.0, 20.0))


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@given(rates_and_bursts, steps, st.floats(0.0, 1e6))
def test_never_more_than_burst_and_rate_in_any_span(
    limits: tuple[float, float], steps: list[tuple[float, float]], start: float
) -> None:
    rate, burst = limits
    clock = Clock(start)
    bucket = Bucket(rate, burst, clock=clock)
    taken: list[tuple[float, float]] = []
    for pause, amount in steps:
        clock.now += pause
        if bucket.take(amount) == 0.0:
            taken.append((clock.now, amount))
    for first in range(len(taken)):
        passed = 0.0
        for at, amount in taken[first:]:
            passed += amount
            assert passed <= burst + rate * (at - taken[first][0]) + 1e-6 * (1 + rate)


@given(rates_and_bursts, steps)
def test_after_the_wait_that_it_names_a_bucket_gives(
    limits: tuple[float, float], steps: list[tuple[float, float]]
) -> None:
    rate, burst = limits
    clock = Clock()
    bucket = Bucket(rate, burst, clock=clock)
    for pause, amount in steps:
        clock.now += pause
        wait = bucket.take(amount)
        if amount > burst:
            assert wait == math.inf
        elif wait:
            assert bucket.wait(amount) == wait  # a refusal takes nothing
            clock.now += wait * 0.5
            assert wait < 1e-6 or bucket.wait(amount) > 0.0
            clock.now += wait * 0.5 + 1e-6
            assert bucket.take(amount) == 0.0


def test_too_many_come_back_later_and_say_when() -> None:
    clock = Clock()
    rates = Rates(rate=0.5, burst=2, clock=clock)
    assert [rates.take("a"), rates.take("a"), rates.take("b")] == [0, 0, 0]
    assert rates.take("a") == 2
    clock.now = 2.0
    assert rates.take("a") == 0


def test_a_sender_gets_its_rate_and_a_burst() -> None:
    clock = Clock()
    rates = Rates(10, 100, clock=clock)
    assert sum(rates.take("a") == 0.0 for _ in range(500)) == 100
    assert rates.take("b") == 0.0
    assert rates.take("a") == pytest.approx(0.1)
    clock.now = 1.0
    assert sum(rates.take("a") == 0.0 for _ in range(500)) == 10


def test_asking_for_the_wait_takes_nothing() -> None:
    rates = Rates(1, 3, clock=Clock())
    assert [rates.wait("a", 3), rates.wait("a", 3), rates.wait("a", 4)] == [0.0, 0.0, math.inf]
    assert [rates.take("a", 2), rates.wait("a", 2), rates.take("a", 1)] == [0.0, 1.0, 0.0]


@given(st.lists(st.integers(0, 9), max_size=100))
def test_only_the_names_asked_about_last_are_remembered(asked: list[int]) -> None:
    clock = Clock()
    rates = Rates(1.0, 1.0, names=3, clock=clock)
    recent: list[int] = []
    for name in asked:
        assert (rates.take(str(name)) > 0.0) == (name in recent)
        recent = [*[n for n in recent if n != name], name][-3:]


def test_many_threads_get_no_more_than_one_would() -> None:
    rates = Rates(rate=1e-6, burst=50)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            allowed = sum(wait == 0 for wait in pool.map(lambda _: rates.take("a"), range(20_000)))
    finally:
        sys.setswitchinterval(interval)
    assert allowed == 50
