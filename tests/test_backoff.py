"""Backoff: its pauses grow to a limit, start again after a success, and jitter stays within its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import Backoff, Tries, doubling


@given(st.floats(0.001, 100.0), st.floats(0.001, 10_000.0), st.integers(1, 200))
def test_doubling_pauses_grow_to_the_longest_and_stay_there(first: float, most: float, failures: int) -> None:
    assert Backoff(doubling(first, most)).after(failures) == min(most, first * 2.0 ** (failures - 1))


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=5), st.integers(-1, 20))
def test_listed_pauses_follow_and_the_last_is_repeated(pauses: list[float], failures: int) -> None:
    expected = [0.0, 0.0, *pauses, *[pauses[-1]] * 20][failures + 1]
    assert Backoff(pauses).after(failures) == expected


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(1, 20))
def test_jitter_stays_within_its_bounds(low: float, more: float, failures: int) -> None:
    plain = Backoff(doubling(0.5, 60.0)).after(failures)
    pause = Backoff(doubling(0.5, 60.0), jitter=(low, low + more)).after(failures)
    assert plain * low * (1 - 1e-9) <= pause <= plain * (low + more) * (1 + 1e-9)


def test_jitter_spreads_the_pauses() -> None:
    backoff = Backoff((10.0,), jitter=(0.5, 1.0))
    assert len({backoff.after(1) for _ in range(20)}) > 1


@pytest.mark.parametrize("first", [0.0, -1.0])
def test_pauses_that_never_grow_are_refused(first: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        doubling(first, 60.0)


@given(st.lists(st.tuples(st.sampled_from(["failed", "succeeded", "later"]), st.floats(0.0, 100.0)), max_size=50))
def test_tries_wait_for_failures_in_a_row_only(steps: list[tuple[str, float]]) -> None:
    now, due, failures = 1000.0, 0.0, 0
    tries = Tries(Backoff(doubling(1.0, 60.0)), clock=lambda: now)
    for what, seconds in steps:
        if what == "failed":
            failures += 1
            assert tries.failed() == min(60.0, 2.0 ** (failures - 1))
            due = now + min(60.0, 2.0 ** (failures - 1))
        elif what == "succeeded":
            tries.succeeded()
            failures, due = 0, 0.0
        else:
            now += seconds
        assert tries.failures == failures
        assert tries.left() == max(0.0, due - now)
