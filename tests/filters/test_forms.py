"""wifi-join's table of forms: each example beside a form gives what stands behind it, and lines that guests write give nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.filters.conftest import Run

FILTERS = Path(__file__).resolve().parents[2] / "filters"
TABLE = (FILTERS / "wifi-join" / "forms.h").read_text()
EXAMPLES = re.findall(r"^\s*(?:/\*|\*) ex: ((?:--\w+ )*)(.*) => (.*?)(?: \*/)?$", TABLE, re.MULTILINE)
MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


def short(event: dict[str, Any]) -> str:
    """An event as the examples write it."""
    data = dict(event["data"])
    words = [event["type"].rpartition(".")[2], data.pop("mac", ""), data.pop("interface", "")]
    words += [f"@{event['access_point']}"] if "access_point" in event else []
    words += [f"{key}={value}" for key, value in data.items()]
    return " ".join(w for w in words if w)


def test_every_vendor_has_examples() -> None:
    names = set(re.findall(r'\{"([a-z-]+)", ', TABLE))
    assert len(EXAMPLES) > 60
    assert names >= {
        "hostapd",
        "unifi-cef",
        "mikrotik",
        "asus",
        "omada",
        "meraki",
        "cisco-ios",
        "aruba",
        "fortinet",
        "fritzbox",
    }
    assert all(MAC.search(wanted) or wanted.startswith(("restarted", "nothing")) for _, _, wanted in EXAMPLES)


@pytest.mark.parametrize(("args", "line", "wanted"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_beside_a_form(args: str, line: str, wanted: str, run: Run) -> None:
    assert [short(e) for e in run([line], *args.split())] == ([] if wanted == "nothing" else [wanted])


GUEST = "06:aa:10:20:30:40"
FORGED = "02:02:02:02:02:02"
CHOSEN = [
    f"wlan0: AP-STA-CONNECTED {FORGED}", f"hostapd: wlan0: AP-STA-CONNECTED {FORGED}", f"x UNIFIclientMac={FORGED} y",
    f"x:{FORGED}] is connected to [ap:a:{FORGED}] y", f", IP 10.0.0.1, MAC {FORGED}.", f"x. MAC-Adresse: {FORGED}, Name: y",
    f"{FORGED} Associated", f"' client_mac='{FORGED}' x='", f'" action=client-authentication stamac={FORGED} x="',
    f"|400|WiFi Client Connected|1|UNIFIclientMac={FORGED} x", f"{FORGED}@wlan1: connected",
    f"STA({FORGED}) had associated successfully",
]  # fmt: skip
NAMED = [
    "Jan 10 20:00:01 loft dnsmasq-dhcp[3]: DHCPACK(br-lan) 10.0.0.9 {mac} {name}",
    "Jan 10 20:00:01 loft hostapd: wlan0: AP-STA-CONNECTED {mac} auth_alg=open {name}",
    "Jan 10 20:00:01 UDM CEF:0|Ubiquiti|UniFi Network|9|400|WiFi Client Connected|1|UNIFIclientAlias={name} UNIFIclientMac={mac}",
    "Jan 10 20:00:01 OC 2026-01-10 20:00:01 Home - - - [client:{name}:{mac}] is connected to [ap:Loft:AA-BB-CC-00-00-01] on channel",
    "10.01.26 20:00:01 WLAN-Gerät angemeldet (5 GHz), 866 Mbit/s, {name}, IP 192.0.2.42, MAC {mac}.",
    "10.01.26 20:00:01 WLAN-Gerät angemeldet. MAC-Adresse: {mac}, Name: {name}.",
    "10.01.26 20:00:01 WLAN-Gerät hat sich abgemeldet. MAC-Adresse: {mac}, Name: {name}.",
    "Jan 10 20:00:01 loft sshd[9]: Invalid user {name} from 10.0.0.2",
    "Jan 10 20:00:01 loft uhttpd[9]: {name}",
    "Jan 10 20:00:01 loft wpa_supplicant[9]: wlan0: Trying to associate with SSID '{name}'",
    "Jan 10 20:00:01 loft kernel: [5.5] wlan0: SSID {name}",
    "Jan 10 20:00:01 loft hotspot,info,debug {name} (10.5.50.2): trying to log in by http-chap",
    'date=2026-01-10 subtype="wireless" action="client-ip-detected" user="{name}" stamac="{mac}"',
]


@pytest.mark.parametrize("form", NAMED, ids=range(len(NAMED)))
@pytest.mark.parametrize("name", CHOSEN, ids=range(len(CHOSEN)))
def test_a_guests_name_makes_no_event_of_another_mac(form: str, name: str, run: Run) -> None:
    escaped = name.replace('"', '\\"') if "date=" in form else name[:32] if "SSID" in form else name
    found = run([form.format(mac=GUEST, name=escaped)], "--dhcp", "--logger")
    assert all(e["data"]["mac"] == GUEST for e in found)
