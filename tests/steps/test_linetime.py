"""How old a log line is by its own time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.steps.linetime import MAX_AGE, RESOLUTION, line_age, line_time


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/Los_Angeles"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def local(year: int, month: int, day: int, h: int = 12, m: int = 0, s: int = 0) -> float:
    return datetime(year, month, day, h, m, s).timestamp()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    "line",
    [
        b"Tue Mar  3 18:02:41 2026 daemon.notice hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:00:01",
        b"Mar  3 18:02:41 ap hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:00:01",
        b"<30>Mar  3 18:02:41 ap hostapd: x",
        b"2026-03-03T18:02:41 ap hostapd: x",
    ],
)
def test_a_stamp_without_a_zone_is_local_time(line: bytes) -> None:
    at = local(2026, 3, 3, 18, 2, 41)
    assert line_time(line, at + 100) == at
    assert line_age(line, at + 100) == 100 - RESOLUTION


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("stamp", "offset"),
    [("2026-03-03T18:02:41Z", 0), ("2026-03-03T18:02:41.250+01:00", -3600), ("2026-03-03T18:02:41-0800", 8 * 3600)],
)
@pytest.mark.parametrize("before", [b"", b"<30>", b"<30>1 "])
def test_a_stamp_with_a_zone_is_taken_as_it_is(stamp: str, offset: float, before: bytes) -> None:
    at = datetime(2026, 3, 3, 18, 2, 41, tzinfo=UTC).timestamp() + offset + (0.25 if ".250" in stamp else 0)
    assert line_time(before + stamp.encode() + b" ap hostapd: x", at) == at


def test_a_stamp_without_a_year_is_not_in_the_future() -> None:
    new_year = local(2027, 1, 1, 0, 0, 30)
    assert line_time(b"Dec 31 23:59:50 ap x", new_year) == local(2026, 12, 31, 23, 59, 50)
    assert line_age(b"Dec 31 23:59:50 ap x", new_year) == 40 - RESOLUTION
    assert line_time(b"Jan  1 00:00:10 ap x", new_year) == local(2027, 1, 1, 0, 0, 10)


def test_29_february_without_a_year_is_in_the_last_leap_year() -> None:
    assert line_time(b"Feb 29 12:00:00 ap x", local(2028, 3, 1)) == local(2028, 2, 29)
    assert line_time(b"Feb 29 12:00:00 ap x", local(2027, 3, 1)) is None


def test_a_time_in_the_future_is_no_age() -> None:
    now = local(2026, 3, 3)
    assert line_age(b"Mar  3 12:00:20 ap x", now) == 0.0
    assert line_age(b"2031-01-01T00:00:00Z x", now) == 0.0


def test_a_time_long_ago_is_a_clock_that_was_not_set() -> None:
    now = local(2026, 3, 3)
    assert line_age(b"Thu Jan  1 00:00:41 1970 daemon.notice x", now) == 0.0
    assert line_age(b"2026-03-03T11:00:00 x", now) == 3600 - RESOLUTION
    assert MAX_AGE > 365 * 86400


@pytest.mark.parametrize(
    "line",
    [b"", b"hostapd: wlan0: AP-STA-CONNECTED", b"Xyz  3 18:02:41 a", b"Mar 33 18:02:41 a", b"Mar  3 25:02:41 a",
     b"2026-13-01T00:00:00Z a", b"2026-03-03 18:02:41 a", b"\xff\xfe", b" Mar  3 18:02:41 a"],
)  # fmt: skip
def test_a_line_without_a_time_that_can_be_read_has_none(line: bytes) -> None:
    assert line_time(line, local(2026, 3, 3)) is None
    assert line_age(line, local(2026, 3, 3)) == 0.0


_parts = st.sampled_from(
    [b"<30>", b"<999>", b"1 ", b"Tue ", b"Mar ", b"Feb ", b" 3 ", b"29 ", b"99 ", b"18:02:41", b"24:60:61", b" 2026", b" 0000",
     b" 9999", b"2026-03-03", b"0001-01-01", b"9999-12-31", b"T23:59:59", b".5", b"." + b"9" * 20, b"Z", b"+01:00", b"-9999"]
)  # fmt: skip


@given(st.lists(_parts, max_size=8).map(b"".join) | st.binary(max_size=80), st.floats(0, 4e9))
def test_no_line_raises_and_no_age_is_negative_or_beyond_a_year(line: bytes, now: float) -> None:
    assert 0.0 <= line_age(line, now) < MAX_AGE


@given(st.integers(86400, 4_000_000_000), st.integers(0, 300 * 86400))
def test_the_age_of_a_stamp_is_what_it_says(now: int, age: int) -> None:
    stamp = datetime.fromtimestamp(now - age, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    assert line_age(stamp + b" x", float(now)) == max(0.0, age - RESOLUTION)
