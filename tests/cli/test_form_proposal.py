"""Forms that are proposed from one line."""

from __future__ import annotations

import pytest

from agent.cli.form_proposal import choose_mac, macs_of, propose
from agent.errors import ConfigError, NotFound

MAC = "02:00:00:00:00:01"


def form(message: str, **split: str) -> str:
    """The closest proposal."""
    return next(propose({"message": message, **split}, MAC)).form


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (f"station {MAC} came online on wl0 rssi -61", "joined:station {mac} came online on {interface}{rest}"),
        (f"wlan0: STA {MAC} deauthenticated, reason 3", "left:{interface}: STA {mac} deauthenticated{rest}"),
        ("020000000001@wlan-attic1(Home) connected, signal -75", "joined:{mac}@{interface}({skip}) connected{rest}"),
        ("user ada roamed to 5 GHz: 0200.0000.0001", "roamed:user {skip} roamed to {skip} GHz: {mac}"),
        (
            "[client:Phone:02-00-00-00-00-01] is connected to [ap:Hall:x]",
            "joined:[client:{skip}:{mac}] is connected to [ap:{ap}{rest}",
        ),
        (f"Station went online.(StationMAC={MAC}, RadioID=1)", "joined:Station went online.(StationMAC={mac}{rest}"),
        (f"12:30:01 192.168.1.4 renewed by {MAC}", "active:{skip} {skip} renewed by {mac}"),
        (f"{MAC} connected at left-5g", "joined:{mac} connected{rest}"),
        (f"{MAC} is de-authenticated from wlan", "left:{mac} is de-authenticated{rest}"),
        (f"{MAC} is now offline via 5G", "left:{mac} is now offline{rest}"),
        (f"client {MAC} déconnecté", "left:client {mac} déconnecté"),
        (f"Disassociated {MAC} [phone], reason: left BSS", "left:Disassociated {mac}{rest}"),
        (f'Device "Ada\'s phone" ({MAC}) joined "Home"', 'joined:Device "{most}" ({mac}) joined{rest}'),
        (f"{MAC} of SSID home online", "joined:{mac} of SSID {skip} online"),
        (f"{MAC} authentication: success", "joined:{mac} authentication: success"),
        (f"type=association client_mac='{MAC}' ssid='Home'", "joined:type=association client_mac='{mac}{rest}"),
    ],
)
def test_the_event_stays_and_changing_words_do_not(message: str, wanted: str) -> None:
    assert form(message) == wanted


def test_the_program_and_the_name_of_the_access_point_are_kept() -> None:
    assert form(f"attic: {MAC} joined", host="attic", program="wlctl") == "joined:wlctl: {ap}: {mac} joined"


def test_an_interface_is_no_program() -> None:
    assert form(f"station {MAC} joined", program="wlan0") == "joined:{interface}: station {mac} joined"
    assert form(f"station {MAC} joined", program="wlan0", pid="7") == "joined:wlan0: station {mac} joined"


def test_a_wider_form_follows_with_only_what_matters() -> None:
    _, wide = propose({"message": f"job 7 of beds: {MAC} connected on wlan0 (ok)"}, MAC)
    assert wide.form == "joined:{rest} {mac} connected{rest} {interface}{rest}"


def test_a_line_that_says_no_event_is_taken_for_a_join() -> None:
    proposal = next(propose({"message": f"here is {MAC}"}, MAC))
    assert (proposal.event, proposal.sure) == ("joined", False)
    assert next(propose({"message": f"here is {MAC}"}, MAC, "left")).form == "left:here is {mac}"


def test_a_refused_device_gets_no_form() -> None:
    with pytest.raises(ConfigError, match="refused"):
        form(f"wlan0: {MAC} authentication rejected")


def test_the_mac_is_chosen_in_any_spelling() -> None:
    text = "0200.0000.0001 on 02-00-00-00-00-02 of session 020000000003ff and 02:00:00:00:00:04:05"
    assert macs_of(text) == [MAC, "02:00:00:00:00:02"]
    assert choose_mac(text, "020000000002") == "02:00:00:00:00:02"
    assert choose_mac(f"{MAC} {MAC}", "") == MAC
    with pytest.raises(ConfigError, match="2 MACs"):
        choose_mac(text, "")
    with pytest.raises(ConfigError, match="not a MAC"):
        choose_mac(text, "phone")
    for text in ("no device", f"another device {MAC}"):
        with pytest.raises(NotFound):
            choose_mac(text, "02:00:00:00:00:09" if MAC in text else "")
