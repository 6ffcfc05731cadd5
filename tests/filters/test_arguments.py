"""wifi-join's arguments: forms of the user's, the lines that are off by default, and --explain."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.filters.conftest import Run

MAC = "06:aa:10:20:30:40"
HEAD = "Jan 10 20:00:01 loft "


@pytest.mark.parametrize(
    ("form", "line", "type_", "data"),
    [
        ("{interface}: station {mac} is here", f"wl0: station {MAC} is here.", "joined", {"interface": "wl0"}),
        ("left: apd: {rest} bye {mac}", f"apd[3]: at last bye {MAC.upper()} now", "left", {}),
        ("roamed:apd: {mac} moves to {interface}", "apd: 06aa.1020.3040 moves to wl1 fast", "roamed", {"interface": "wl1"}),
        ("apd: {mac} is on {interface}{rest}", f"apd: {MAC} is on wl0, rssi -61", "joined", {"interface": "wl0"}),
        ("apd: {mac} is on {interface}{rest}", f"apd: {MAC} is on wifi1.0-ap/2", "joined", {"interface": "wifi1.0-ap/2"}),
        ("{rest} {mac} on {interface}{most} fine", f"x {MAC} on wl0. It is fine", "joined", {"interface": "wl0"}),
        ("active: {skip} seen {mac}", f"12 seen {MAC}", "active", {}),
        ("restarted: apd: radio {interface} is up", "apd: radio wl0 is up", "restarted", {"interface": "wl0"}),
        ("client {mac} {up|online} on {ap} ({skip})", f"client {MAC} online on Hall 2 (5GHz)", "joined", {}),
    ],
)  # fmt: skip
def test_a_form_of_the_users_finds_its_lines(form: str, line: str, type_: str, data: dict[str, str], run: Run) -> None:
    [event] = run(["x", HEAD + line], "--form", form)
    assert (event["line"], event["type"].rpartition(".")[2]) == (2, type_)
    assert event["data"] == ({"mac": MAC} if type_ != "restarted" else {}) | data
    assert event["access_point"] == ("Hall 2" if "{ap}" in form else "loft")


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("apd: {mac} joined", f"sshd[3]: {MAC} joined"),
        ("apd: {mac} joined", f"apd: says {MAC} joined"),
        ("{mac} joined", f"{MAC} joinedx"),
        ("station {mac} {end}", f"station {MAC} x"),
        ("{interface} up: {mac} joined", f"two words up: {MAC} joined"),
        ("<{name}> {mac} joined", f"<a [b> {MAC} joined"),
    ],
)  # fmt: skip
def test_a_form_must_fit_from_the_messages_start(form: str, line: str, run: Run) -> None:
    assert run([HEAD + line], "--form", form) == []


def test_rest_ends_at_the_first_and_most_at_the_last_place(run: Run) -> None:
    line = HEAD + f"apd: name sta 02:02:02:02:02:02 up sta {MAC} up"
    [first] = run([line], "--form", "apd: {rest}sta {mac} up")
    [last] = run([line], "--form", "apd: {most}sta {mac} up")
    assert (first["data"]["mac"], last["data"]["mac"]) == ("02:02:02:02:02:02", MAC)


def test_many_forms_are_tried_in_their_order(run: Run) -> None:
    forms = [x for i in range(16) for x in ("--form", f"left: apd{i}: {{mac}} gone")]
    found = run([f"{HEAD}apd{i}: {MAC} gone" for i in range(17)], *forms)
    assert [e["line"] for e in found] == list(range(1, 17))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--form"], "needs a form"),
        (["--form", "joined: no address"], "has no {mac}"),
        (["--form", "{mac} up"], "at least 3 characters"),
        (["--form", "sta {mac} {ifname}"], "unknown placeholder"),
        (["--form", "sta {mac"], "{ without a }"),
        (["--form", "sta mac} {mac}"], "} without a {"),
        (["--form", "{mac} " + "x" * 300], "longer than 256 bytes"),
        (["--form", "sta {mac}"] * 17, "at most 16"),
        (["--fast"], "is unknown; known: --form FORM, --dhcp, --logger, --explain"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(args: list[str], says: str, checked: Path) -> None:
    done = subprocess.run([checked, *args], input=b"", capture_output=True, text=False, check=False, timeout=20)
    assert done.returncode == 2
    assert says in done.stderr.decode()


def test_explain_tells_parts_form_and_event_of_every_line(run: Run) -> None:
    lines = [
        f"<30>Jan 10 20:00:01 loft aabbcc001122,U6-6.7: hostapd[9]: ath3: AP-STA-CONNECTED {MAC}",
        "Jan 10 20:00:01 loft sshd[9]: hello",
        f"Jan 10 20:00:01 loft dnsmasq-dhcp[3]: DHCPACK(br-lan) 10.0.0.9 {MAC}",
        "",
        f"loft says {MAC}",
    ]
    first, other, off, empty, plain = run(lines, "--explain", "--form", "says {mac}!")
    assert first["split"] == {
        "priority": "30", "time": "Jan 10 20:00:01", "host": "loft", "device": "aabbcc001122,U6-6.7:", "program": "hostapd",
    "pid": "9",
        "message": f"ath3: AP-STA-CONNECTED {MAC}",
    }  # fmt: skip
    assert (first["form"], first["event"]["type"], first["event"]["access_point"]) == (
        "hostapd",
        "wifi.client.joined",
        "loft",
    )
    assert "reason" not in first
    assert (other["form"], other["event"], other["reason"]) == ("", None, "no form is for this program")
    assert off["reason"] == "a line of dnsmasq counts with --dhcp only"
    assert empty["split"] == {}
    assert "no form without a program fits" in plain["reason"]
    assert [e["at"] for e in (first, other)] == [0, len(lines[0]) + 1]


def test_a_line_without_its_newline_is_explained_too(checked: Path) -> None:
    done = subprocess.run([checked, "--explain"], input=b"a\nb", capture_output=True, check=False, timeout=20)
    assert done.stdout.count(b'"line":') == 2
