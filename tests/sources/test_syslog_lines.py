"""Syslog messages of many devices as lines of a syslog file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.syslog.messages import messages_of, to_line

NOW = 1_772_561_000.0
BOM = b"\xef\xbb\xbf"
LINES = Path(__file__).parents[1] / "filters" / "lines.jsonl"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"<29>Mar  4 09:10:11 hostapd: phy0-ap0: AP-STA-CONNECTED da:5f:77:12:90:ee",
         b"Mar  4 09:10:11 192.0.2.7 hostapd: phy0-ap0: AP-STA-CONNECTED da:5f:77:12:90:ee"),
        (b"<29>Mar  4 09:10:11 attic-ap hostapd[13]: up\r\n", b"Mar  4 09:10:11 attic-ap hostapd[13]: up"),
        (b"<30>Aug 20 09:11:17 U7-Pro 9241b2000001,U7-Pro-8.7.11+19419: hostapd[1]: wifi1ap4: x",
         b"Aug 20 09:11:17 U7-Pro 9241b2000001,U7-Pro-8.7.11+19419: hostapd[1]: wifi1ap4: x"),
        (b"<30>Jun 30 18:00:00 1e0b8bc42f58,U7-Lite-8.6.11+18870: hostapd: wifi0ap5: x",
         b"Jun 30 18:00:00 192.0.2.7 1e0b8bc42f58,U7-Lite-8.6.11+18870: hostapd: wifi0ap5: x"),
        (b"Mar  4 09:12:18 attic-ap hostapd: without a priority", b"Mar  4 09:12:18 attic-ap hostapd: without a priority"),
        (b"2026-03-04T09:12:18.123+01:00 attic-ap hostapd: x", b"2026-03-04T09:12:18.123+01:00 attic-ap hostapd: x"),
        (b"2026-03-04T09:12:18Z hostapd: x", b"2026-03-04T09:12:18Z 192.0.2.7 hostapd: x"),
        (b"<29>Wed Mar  4 07:22:10 2026 daemon.notice hostapd: phy1-ap0: x",
         b"Wed Mar  4 07:22:10 2026 daemon.notice hostapd: phy1-ap0: x"),
        (b"<29>hostapd: no time\x00", b"Mar  3 18:03:20 192.0.2.7 hostapd: no time"),
        (b"<29>Mar  4 09:10:11 Living Room AP hostapd: x", b"Mar  4 09:10:11 Living Room AP hostapd: x"),
        (b"52 <29>Mar  4 09:10:11 ap hostapd: counted", b"Mar  4 09:10:11 ap hostapd: counted"),
        (BOM + b"<29>Mar  4 09:10:11 ap hostapd: x", b"Mar  4 09:10:11 ap hostapd: x"),
        (b"<29>" + BOM + b"Mar  4 09:10:11 ap hostapd: x", b"Mar  4 09:10:11 ap hostapd: x"),
        (BOM + b"Mar  4 09:10:11 hostapd: x", b"Mar  4 09:10:11 192.0.2.7 hostapd: x"),
        (b"two\nlines", b"two#012lines"),
        (b"<13>", b""),
        (b"\n", b""),
    ],
)  # fmt: skip
def test_a_message_becomes_a_line_of_a_syslog_file(message: bytes, line: bytes) -> None:
    assert to_line(message, "192.0.2.7", NOW) == line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"<165>1 2026-03-03T18:00:00.003Z ap hostapd 8710 ID47 - wlan0: AP-STA-CONNECTED",
         b"Mar  3 18:00:00 ap hostapd[8710]: wlan0: AP-STA-CONNECTED"),
        (b'<165>1 2026-03-03T19:00:00+01:00 - - - - [a@1 k="]\\"x"][b] ' + BOM + b"\xc3\xa9",
         b"Mar  3 18:00:00 192.0.2.7 \xc3\xa9"),
        (b"<134>1 2026-03-03T18:00:00Z OC200 - - - [client:Phone:06-01-C5-00-00-32] is connected to [ap:Hall:x]",
         b"Mar  3 18:00:00 OC200 [client:Phone:06-01-C5-00-00-32] is connected to [ap:Hall:x]"),
        (b"<134>1 2026-03-04 09:10:11 Home - - - [client:x] is connected",
         b"1 2026-03-04 09:10:11 Home - - - [client:x] is connected"),
        (b"<165>1 - ap app - - -", b"Mar  3 18:03:20 ap app: "),
        (b"<165>1 2026-03-03T18:00:00Z ap hostapd 8710 - wlan0: x", b"Mar  3 18:00:00 ap hostapd[8710]: wlan0: x"),
        (b"<165>1 2026-03-03T18:00:00Z ap hostapd 8710 ID47 wlan0: x", b"Mar  3 18:00:00 ap hostapd[8710]: wlan0: x"),
        (b"<165>1 2026-03-03T18:00:00Z ap hostapd - - wlan0: x", b"Mar  3 18:00:00 ap hostapd: wlan0: x"),
        (b"<165>1 2026-03-03T18:00:00Z ap hostapd 8710 wlan0: x", b"Mar  3 18:00:00 ap hostapd[8710]: wlan0: x"),
        (b"<165>1 2026-03-03T18:00:00Z Living Room AP hostapd 8710 - - wlan0: x",
         b"Mar  3 18:00:00 Living-Room-AP hostapd[8710]: wlan0: x"),
        (b"<165>1 2026-03-03T18:00:00Z relay - - - - Mar  3 19:00:00 ap hostapd: x",
         b"Mar  3 18:00:00 relay Mar  3 19:00:00 ap hostapd: x"),
        (b"<165>" + BOM + b"1 2026-03-03T18:00:00Z ap - - - - hostapd: x", b"Mar  3 18:00:00 ap hostapd: x"),
        (b"<165>1 2026-03-03T18:00:00Z relay - - - - <30>1 2026-03-03T19:00:00Z ap hostapd 411 - - wlan0: x",
         b"Mar  3 19:00:00 ap hostapd[411]: wlan0: x"),
        (b"<165>Mar  3 18:00:00 relay <30>1 2026-03-03T19:00:00Z - hostapd - - - wlan0: x",
         b"Mar  3 19:00:00 relay hostapd: wlan0: x"),
        (b"<165>Mar  3 18:00:00 relay <30>Mar  3 19:00:00 ap hostapd: x",
         b"Mar  3 18:00:00 relay <30>Mar  3 19:00:00 ap hostapd: x"),
        (b"<134>1 1701108917.492881624 AP_hall events type=association radio='1' vap='0'",
         b"1 1701108917.492881624 AP_hall events type=association radio='1' vap='0'"),
    ],
)  # fmt: skip
def test_a_message_of_rfc_5424_keeps_host_program_and_text(message: bytes, line: bytes) -> None:
    assert to_line(message, "192.0.2.7", NOW) == line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            b"<189>45: hall: *Mar  1 00:12:13.123: %DOT11-6-ASSOC: x",
            b"45: hall: *Mar  1 00:12:13.123: %DOT11-6-ASSOC: x",
        ),
        (
            b"<189>45: *Mar  1 00:12:13.123: %DOT11-6-ASSOC: x",
            b"45: 192.0.2.7: *Mar  1 00:12:13.123: %DOT11-6-ASSOC: x",
        ),
        (
            b"<189>45: 000046: Mar  1 00:12:13.123 CET: %DOT11-6-ASSOC: x",
            b"45: 192.0.2.7: Mar  1 00:12:13.123 CET: %DOT11-6-ASSOC: x",
        ),
        (b"<29>000045: Mar  4 09:10:11 ap hostapd: x", b"Mar  4 09:10:11 ap hostapd: x"),
        (b"<29>45: Mar  4 09:10:11 hostapd: x", b"Mar  4 09:10:11 192.0.2.7 hostapd: x"),
    ],
)
def test_sequence_numbers_hide_no_host_and_no_time(message: bytes, line: bytes) -> None:
    assert to_line(message, "192.0.2.7", NOW) == line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"<29>Mar  4 09:10:11 ap hostapd: message repeated 3 times: [ wlan0: AP-STA-CONNECTED x]",
         b"Mar  4 09:10:11 ap hostapd: wlan0: AP-STA-CONNECTED x"),
        (b"<29>Mar  4 09:10:11 ap message repeated 3 times: [ hostapd: wlan0: AP-STA-CONNECTED x]",
         b"Mar  4 09:10:11 ap hostapd: wlan0: AP-STA-CONNECTED x"),
        (b"<29>1 2026-03-03T18:00:00Z ap hostapd - - - message repeated 2 times: [wlan0: x]",
         b"Mar  3 18:00:00 ap hostapd: wlan0: x"),
        (b"<29>Mar  4 09:10:11 ap last message repeated 3 times", b"Mar  4 09:10:11 ap last message repeated 3 times"),
    ],
)  # fmt: skip
def test_a_repeated_message_is_passed_on_once(message: bytes, line: bytes) -> None:
    assert to_line(message, "192.0.2.7", NOW) == line


def test_lines_of_access_points_keep_the_fields_of_the_filter() -> None:
    for raw in LINES.read_text().splitlines():
        case = json.loads(raw)
        if case["event"]:
            tail = case["line"].split(": ", 1)[1].rstrip()
            assert tail in to_line(case["line"].encode(), "192.0.2.7", NOW).decode()


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda b: b"<13>1 2026-03-03T18:00:00Z h a p m [x " + b))
def test_any_bytes_become_at_most_one_line(message: bytes) -> None:
    assert b"\n" not in to_line(message, "192.0.2.7", NOW)


@pytest.mark.parametrize(
    ("datagram", "messages"),
    [
        (b"<13>one\n<13>two\n", [b"<13>one", b"<13>two\n"]),
        (b"<13>one\x00<13>two\x00", [b"<13>one", b"<13>two"]),
        (b"<13>one\r\n" + BOM + b"<13>two", [b"<13>one", BOM + b"<13>two"]),
        (b"Mar  4 09:10:11 a b: c\nMar  4 09:10:12 a b: d", [b"Mar  4 09:10:11 a b: c", b"Mar  4 09:10:12 a b: d"]),
        (b"<13>text\nof two lines", [b"<13>text\nof two lines"]),
        (b"\x00\x00", []),
        (b"", []),
    ],
)
def test_a_datagram_may_have_several_messages(datagram: bytes, messages: list[bytes]) -> None:
    assert messages_of(datagram) == messages
