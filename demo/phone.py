"""Phones that join and leave, as lines of an OpenWrt access point's log (logread's format)."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

INTERFACE = "phy1-ap0"
NEIGHBOUR = "3c:22:fb:5e:01:7a"
"""A device that left before the story begins."""


def new_mac() -> str:
    """A random MAC, as phones use in an unknown network: locally administered, unicast."""
    raw = bytearray(secrets.token_bytes(6))
    raw[0] = (raw[0] | 0x02) & 0xFE
    return raw.hex(":")


def _stamp(text: str) -> str:
    return f"{time.strftime('%a %b %e %H:%M:%S %Y')} {text}\n"


def boot() -> str:
    """The first lines of the log."""
    return "".join(
        _stamp(t)
        for t in (
            "kern.info kernel: [   14.201337] br-lan: port 2(phy1-ap0) entered forwarding state",
            "daemon.notice hostapd: phy1-ap0: interface state HT_SCAN->ENABLED",
            "daemon.notice hostapd: phy1-ap0: AP-ENABLED",
            "daemon.info dnsmasq[1]: read /etc/hosts - 12 names",
        )
    )


def joins(mac: str, name: str = "") -> str:
    """A device joins: hostapd's and dnsmasq's lines."""
    address = f"192.168.1.{100 + int(mac[-2:], 16) % 150}"
    return "".join(
        _stamp(t)
        for t in (
            f"daemon.info hostapd: {INTERFACE}: STA {mac} IEEE 802.11: authenticated",
            f"daemon.info hostapd: {INTERFACE}: STA {mac} IEEE 802.11: associated (aid 3)",
            f"daemon.notice hostapd: {INTERFACE}: AP-STA-CONNECTED {mac} auth_alg=sae",
            f"daemon.info hostapd: {INTERFACE}: STA {mac} WPA: pairwise key handshake completed (RSN)",
            f"daemon.notice hostapd: {INTERFACE}: EAPOL-4WAY-HS-COMPLETED {mac}",
            f"daemon.info dnsmasq-dhcp[1]: DHCPDISCOVER(br-lan) {mac}",
            f"daemon.info dnsmasq-dhcp[1]: DHCPOFFER(br-lan) {address} {mac}",
            f"daemon.info dnsmasq-dhcp[1]: DHCPREQUEST(br-lan) {address} {mac}",
            f"daemon.info dnsmasq-dhcp[1]: DHCPACK(br-lan) {address} {mac} {name}".rstrip(),
        )
    )


def leaves(mac: str) -> str:
    """A device leaves."""
    return _stamp(f"daemon.notice hostapd: {INTERFACE}: AP-STA-DISCONNECTED {mac}") + _stamp(
        f"daemon.info hostapd: {INTERFACE}: STA {mac} IEEE 802.11: disassociated"
    )


def append(log: Path, text: str) -> None:
    """Add lines to the log in one write, as a log daemon does."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
