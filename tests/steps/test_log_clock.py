"""Ages of log lines: live lines are now, and a backlog is judged by its own clock."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources import Anchor
from agent.steps.log_clock import LIVE, MAX_CLOCKS, RESOLUTION, LogClock

NOW = 1_790_000_000.0
"""In September 2026."""
BERLIN = 7200.0
ZONES = st.sampled_from([-8 * 3600.0, 0.0, 1800.0, 3600.0, 7200.0, 12 * 3600.0])


def clock(offsets: object = None, zone: float = BERLIN) -> LogClock:
    return LogClock(offsets, zone=lambda _at: zone)


def line(at: float, zone: float = 0.0) -> bytes:
    """A line that an access point in this zone writes at a Unix time."""
    return time.strftime("%b %e %H:%M:%S ap hostapd: x", time.gmtime(at + zone)).encode()


@pytest.mark.parametrize("error", [0.0, -2 * 3600.0, 5 * 3600.0, -56 * 365 * 86400.0, 40.0])
def test_a_line_that_was_just_written_is_now(error: float) -> None:
    assert clock().age(line(NOW + error), "", NOW, bound=LIVE) == 0.0


@given(ZONES, ZONES, st.floats(-50_000, 50_000), st.floats(20, 86_400))
def test_after_a_live_line_a_backlog_has_its_true_ages(ours: float, theirs: float, error: float, age: float) -> None:
    first = clock(zone=ours)
    first.age(line(NOW + error, theirs), "ap", NOW, bound=0.0)
    later = NOW + 3600
    restarted = clock(first.offsets(), zone=ours)
    found = restarted.age(line(later - age + error, theirs), "ap", later, bound=math.inf)
    assert found == pytest.approx(max(0.0, age - RESOLUTION), abs=2.0)


@given(ZONES, ZONES, st.floats(-50_000, 50_000), st.floats(20, 86_400), st.floats(0, 20_000))
def test_newest_line_and_change_of_the_file_give_the_offset(
    ours: float, theirs: float, error: float, age: float, silent: float
) -> None:
    newest = Anchor(line(NOW - silent + error, theirs), NOW - silent)
    found = clock(zone=ours).age(line(NOW - silent - age + error, theirs), "", NOW, bound=math.inf, anchor=newest)
    assert found == pytest.approx(silent + age - RESOLUTION, abs=2.0)


def test_an_unknown_stamp_is_in_the_time_zone_of_this_node() -> None:
    assert clock().age(line(NOW - 600, BERLIN), "", NOW, bound=math.inf) == 600 - RESOLUTION


def test_access_points_of_one_log_have_clocks_of_their_own() -> None:
    heard = clock()
    heard.age(line(NOW, 0.0), "hall", NOW, bound=0.0)
    heard.age(line(NOW, 9 * 3600.0), "attic", NOW, bound=0.0)
    newest = Anchor(line(NOW + 100, 9 * 3600.0), NOW + 100)
    ages = [
        heard.age(line(NOW, z), ap, NOW + 200, bound=math.inf, anchor=newest)
        for ap, z in (("hall", 0.0), ("attic", 9 * 3600.0))
    ]
    assert ages == [200 - RESOLUTION] * 2


def test_a_line_without_a_clock_is_as_old_as_the_line_before() -> None:
    heard = clock()
    newest = Anchor(line(NOW - 60), NOW - 60)
    assert heard.age(line(NOW - 900), "", NOW, bound=math.inf, anchor=newest) == 900 - RESOLUTION
    assert heard.age(b"Thu Jan  1 00:00:41 1970 x", "", NOW, bound=math.inf, anchor=newest) == 900 - RESOLUTION
    assert heard.age(b"wlan0: AP-STA-CONNECTED", "", NOW, bound=math.inf, anchor=newest) == 900 - RESOLUTION


def test_a_backlog_without_a_clock_is_as_old_as_the_last_change() -> None:
    newest = Anchor(b"Thu Jan  1 00:01:00 1970 x", NOW - 60)
    assert clock().age(b"Thu Jan  1 00:00:30 1970 x", "", NOW, bound=math.inf, anchor=newest) == 90 - RESOLUTION
    assert clock().age(b"no time at all", "", NOW, bound=math.inf, anchor=newest) == 60.0


def test_an_age_is_never_above_its_bound_or_below_zero() -> None:
    assert clock().age(line(NOW - 9000, BERLIN), "", NOW, bound=60.0) == 60.0
    assert clock().age(line(NOW + 9000, BERLIN), "", NOW, bound=60.0) == 0.0


def test_the_difference_of_the_clocks_is_told() -> None:
    heard = clock()
    assert heard.difference(NOW) is None
    heard.hear(line(NOW, 0.0), NOW)
    assert heard.difference(NOW) == -BERLIN
    zoned = clock()
    zoned.hear(b"2026-09-21T14:13:20Z x", NOW)
    assert zoned.difference(NOW) == pytest.approx(0, abs=3)


@pytest.mark.parametrize("damaged", [{"ap": "x"}, [1], 7, {"ap": math.nan}, None, {str(n): 1.0 for n in range(500)}])
def test_damaged_stored_offsets_do_no_harm(damaged: object) -> None:
    assert len(clock(damaged).offsets()) <= MAX_CLOCKS


def test_the_number_of_clocks_is_bounded() -> None:
    heard = clock()
    for n in range(3 * MAX_CLOCKS):
        heard.hear(line(NOW), NOW, f"ap-{n}")
    assert len(heard.offsets()) == MAX_CLOCKS
