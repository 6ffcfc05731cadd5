"""wifi-join splits a log line into parts: headers of all vendors and languages, and texts that only look like headers."""

from __future__ import annotations

import pytest

from tests.filters.conftest import Run

JOIN = "wlan0: AP-STA-CONNECTED 06:aa:10:20:30:40"
TIMES = [
    "Jan 10 20:00:01", "10 Jan 20:00:01", "10 Jan 2026 20:00:01", "Jan 10 2026 20:00:01.123 UTC", "2026 Jan 10 20:00:01",
    "20:00:01",
    "Sat Jan 10 20:00:01 CET 2026", "Sat Jan 10 08:00:01 PM UTC 2026", "Sat, 10 Jan 2026 20:00:01 +0100",
    "Sat 2026-01-10 20:00:01 CET",
    "Mär 10 20:00:01", "10. März 2026 20:00:01", "Sa 10. Jän 20:00:01 MEZ 2026", "10 mars 20:00:01", "févr. 10 20:00:01",
    "10 févr. 2026 20:00:01",
    "sam. 10 janv. 2026 20:00:01", "mié 10 ene 2026 20:00:01 CET", "gio 10 gen 20:00:01", "za 10 mrt 2026 20:00:01",
    "qua 10 fev 2026 20:00:01",
    "25 лют 2026 20:00:01", "2026-01-10 20:00:01", "2026/01/10 20:00:01", "10.01.2026 20:00:01", "10/01/2026 20:00:01",
    "1/10/2026, 8:00:01 PM",
    "1/10/2026, 8:00:01 p. m.", "2026-01-10T20:00:01Z", "2026-01-10T20:00:01.123456+01:00", "2026-01-10T20:00:01,123+0100",
    "2026-01-10 20:00:01.123 +0100", "1768075201.112", "1768075201", "[1768075201.112]", "[ 1234.567890]", "20260110 20:00:01",
    "jan/10/2026 20:00:01",
    "Jan 10 20:00:01 [1768075201.112]", "<30>Jan 10 20:00:01", "<30> Jan 10 20:00:01", "\ufeff<30>Jan 10 20:00:01",
    "<30>\ufeffJan 10 20:00:01",
]  # fmt: skip
WITH_HOST = [
    "loft hostapd:", "loft hostapd[12]:", "loft /usr/sbin/hostapd[3]:", "loft hostapd-phy0[3]:", "loft hostapd: hostapd:",
    "loft wpa_supplicant[3]:",
    "loft netifd: radio0 (1234):", "loft netifd[8]: radio0 (1234):", "loft HOME: hostapd:", "loft : hostapd[4]:",
    "loft daemon.notice hostapd:",
    "loft local0.info: hostapd:", "loft loft hostapd:", "192.168.1.2 loft hostapd:", "loft loft.lan hostapd:", "loft",
    "loft U7LT||aabbcc001122||4.0.42: hostapd:", "loft aabbcc001122|U7LT|v3.7: hostapd:",
    "loft (\"U7LT,aabbcc001122,v3.7\") hostapd:",
    "loft AABBCC001122,UAP-AC-Pro-Gen2-6.0.21+13673: : hostapd[4]:", "relay Jan 10 20:00:02 loft hostapd:",
    "relay <29>Jan 10 20:00:02 loft hostapd:",
    "relay 2026-01-10T20:00:02+01:00 loft hostapd:", "relay 1 2026-01-10T20:00:02Z loft hostapd 4 - -",
    "relay <30>1 2026-01-10T20:00:02Z loft hostapd 4 - -",
]  # fmt: skip
WHOLE = [
    "", "<30>", "hostapd:", "daemon.notice hostapd:", "daemon.notice netifd: radio0 (1234):", "Jan 10 20:00:01 hostapd:",
    "Jan 10 20:00:01",
    "1768075201.112456:", "Sat Jan 10 20:00:01 2026 daemon.notice", "[25 févr. 2026, 17:09:42 UTC+1] daemon.notice: hostapd:",
    "[25/02/2026, 17:09:42] daemon.notice: hostapd:", "[25 de fev. de 2026, 17:09:42 BRT] daemon.notice: hostapd:",
    "[2026年2月25日 17:09:42] daemon.notice: hostapd:", "[2026/2/25 下午5:09:42] daemon.notice: hostapd:",
        "[25 февр. 2026 г., 17:09:42 GMT+3] daemon.notice: hostapd:",
    "[25. 2. 2026 17:09:42 SEČ] daemon.notice: hostapd:", "<30>1 2026-01-10T20:00:01Z - hostapd - - -",
    "1e0b8bc42f58,U7-Lite-8.6.11+18870: hostapd:",
]  # fmt: skip
QUOTING = [
    "sshd[12]:", "logger:", "root:", "kernel:", "dnsmasq-dhcp[3]:", "presence-detector[28222]:", "sudo:", "hostapd_cli:",
    "hostapd[x]:", "netifd:",
    "python3[5]:", "uhttpd[4]:", "%SYS-6-LOGGINGHOST:", "somebody wrote", "a b c", "I said at 20:00:01",
]  # fmt: skip
QUOTED = ["", "hostapd: ", "hostapd[3]: ", "somebody wrote ", "Jan 10 20:00:02 loft hostapd: ", "user ", '"', "[ "]


@pytest.mark.parametrize("time", TIMES)
def test_a_time_in_any_common_form_is_read(time: str, run: Run) -> None:
    [event] = run([f"{time} loft hostapd[12]: {JOIN}"])
    assert (event["data"]["interface"], event["access_point"]) == ("wlan0", "loft")


@pytest.mark.parametrize("header", WITH_HOST)
@pytest.mark.parametrize("time", ["Jan 10 20:00:01", "<30>2026-01-10T20:00:01+01:00"])
def test_the_host_is_the_access_point(time: str, header: str, run: Run) -> None:
    [event] = run([f"{time} {header} {JOIN}"])
    assert (event["data"]["interface"], event["access_point"]) == ("wlan0", "loft")


@pytest.mark.parametrize("header", WHOLE)
def test_a_header_without_a_host_is_read(header: str, run: Run) -> None:
    [event] = run([f"{header} {JOIN}".strip()])
    assert event["data"]["interface"] == "wlan0"
    assert event.get("access_point", "1e0b8bc42f58") == "1e0b8bc42f58"


@pytest.mark.parametrize("program", QUOTING)
def test_a_line_that_quotes_hostapd_is_nothing(program: str, run: Run) -> None:
    headers = [
        "Jan 10 20:00:01 loft",
        "Jan 10 20:00:01",
        "<30>Jan 10 20:00:01 loft",
        "Sat Jan 10 20:00:01 2026 daemon.notice",
        "",
    ]
    assert run([f"{header} {program} {quoted}{JOIN}".strip() for header in headers for quoted in QUOTED]) == []


def test_an_access_points_name_ends_after_a_whole_character(run: Run) -> None:
    [event] = run([f"Jan 10 20:00:01 {'ä' * 60} hostapd: {JOIN}"])
    assert event["access_point"] == "ä" * 32
