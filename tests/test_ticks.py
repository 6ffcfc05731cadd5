"""Common ticks: looks fall together, none is lost, and short pauses stay what they are."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import ticks


@given(st.floats(0.0, 1e7), st.floats(ticks.GRID, 1e5))
def test_looks_wait_for_the_nearest_tick_that_is_yet_to_come(now: float, seconds: float) -> None:
    with patch.object(time, "monotonic", return_value=now):
        pause = ticks.until(seconds)
    tick = (now + pause - ticks._PHASE) / ticks.GRID
    assert tick == pytest.approx(round(tick), abs=1e-6)
    assert max(0.0, seconds - ticks.GRID / 2 - 1e-6) < pause <= seconds + ticks.GRID / 2 + 1e-6


@given(st.floats(0.0, 1e7), st.floats(0.0, ticks.GRID, exclude_max=True))
def test_pauses_shorter_than_the_grid_stay_as_they_are(now: float, seconds: float) -> None:
    with patch.object(time, "monotonic", return_value=now):
        assert ticks.until(seconds) == seconds


def test_looks_of_different_pauses_fall_on_the_same_ticks() -> None:
    now, falls = 1000.3, set()
    for seconds in (4.0, 5.0, 6.0, 10.0):
        at = now
        while at < now + 60:
            with patch.object(time, "monotonic", return_value=at):
                at += ticks.until(seconds)
            falls.add(round((at - ticks._PHASE) / ticks.GRID, 6))
    assert all(tick == int(tick) for tick in falls)


async def test_sleep_ends() -> None:
    await asyncio.wait_for(ticks.sleep(0.01), 5)
