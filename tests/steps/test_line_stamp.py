"""The time at the start of a log line, in the forms that access points have."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.steps.line_stamp import stamp_of


def utc(year: int, month: int, day: int, h: int = 0, m: int = 0, s: int = 0) -> float:
    return datetime(year, month, day, h, m, s, tzinfo=UTC).timestamp()


AT = utc(2026, 2, 25, 17, 9, 42)


@pytest.mark.parametrize(
    "line",
    [
        "Feb 25 17:09:42 ap hostapd: x",
        "<30>Feb 25 17:09:42 ap hostapd: x",
        "Feb 25 17:09:42.512 ap hostapd: x",
        "Wed Feb 25 17:09:42 2026 daemon.notice hostapd: x",
        "Feb 25 2026 17:09:42 ap x",
        "*Feb 25 17:09:42.123: %DOT11-6-ASSOC: x",
        "2026-02-25T17:09:42 ap x",
        "2026-02-25 17:09:42,512 ap x",
        "2026/02/25 17:09:42 ap x",
        "[Feb 25, 2026, 5:09:42 PM] daemon.notice: x",
        "[25. Feb. 2026, 17:09:42 MEZ] daemon.notice: x",
        "[25 févr. 2026, 17:09:42] daemon.notice: x",
        "25 feb 2026 17:09:42 x",
        "Mi Feb 25 17:09:42 2026 x",
        "25.02.26 17:09:42 WLAN-Gerät angemeldet",
        "25.02.2026, 17:09:42 x",
        "date=2026-02-25 time=17:09:42 devname=x",
        "\0\0Feb 25 17:09:42 ap x",
    ],
)
def test_forms_without_a_zone(line: str) -> None:
    stamp = stamp_of(line.encode(), AT + 86400)
    assert stamp is not None
    assert (stamp.seconds, stamp.zoned) == (AT, False)


@pytest.mark.parametrize(
    "line",
    [
        "2026-02-25T17:09:42Z ap x", "<30>1 2026-02-25T17:09:42.306803+00:00 ap x", "2026-02-25T18:09:42+01:00 ap x",
        "2026-02-25T09:09:42-0800 ap x", "[Feb 25, 2026, 7:09:42 PM GMT+2] daemon.notice: x", "1772039382.492881624 AP events",
        "[1772039382.123] ap hostapd: x", "1 1772039382.49 AP_hall events type=association",
    ],
)  # fmt: skip
def test_forms_with_a_zone(line: str) -> None:
    stamp = stamp_of(line.encode(), 0.0)
    assert stamp is not None
    assert (int(stamp.seconds), stamp.zoned) == (AT, True)


@pytest.mark.parametrize(
    "line",
    [
        "wlan0: AP-STA-CONNECTED 02:00:00:00:00:01", "", "Foo 25 17:09:42 x", "Feb 31 17:09:42 2026 x", "2026-13-25T17:09:42 x",
        "0123456789 x", "Feb 25 27:09:42 x",
    ],
)  # fmt: skip
def test_lines_without_a_valid_time(line: str) -> None:
    stamp = stamp_of(line.encode(), AT)
    assert stamp is None or not stamp.zoned or stamp.seconds < 1e9


def test_a_missing_year_is_the_nearest_one() -> None:
    assert stamp_of(b"Dec 31 23:59:50 ap x", utc(2027, 1, 1)) == (utc(2026, 12, 31, 23, 59, 50), False)
    assert stamp_of(b"Jan  1 00:00:10 ap x", utc(2026, 12, 31, 22)) == (utc(2027, 1, 1, 0, 0, 10), False)
    assert stamp_of(b"Feb 29 12:00:00 ap x", utc(2028, 3, 1)) == (utc(2028, 2, 29, 12), False)
    assert stamp_of(b"Feb 29 12:00:00 ap x", utc(2030, 3, 1)) is None


@given(st.binary(max_size=120), st.floats(0, 4e9))
def test_any_bytes_give_a_time_or_none(line: bytes, near: float) -> None:
    stamp_of(line, near)


@given(st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)))
def test_a_written_time_is_read_back(at: datetime) -> None:
    seconds = float(calendar.timegm(at.timetuple()))
    for form in (
        "%a %b %e %H:%M:%S %Y",
        "%b %e %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S",
        "%d.%m.%Y %H:%M:%S",
        "%b %d, %Y, %I:%M:%S %p",
    ):
        assert stamp_of(at.strftime(form).encode() + b" x", seconds) == (seconds, False)
