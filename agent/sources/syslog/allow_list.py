"""The networks that may send: those of a receiver, and those that operators allowed or denied for the whole mesh."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from agent.sources.syslog.decisions import Decisions, network

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""The networks that may send by default. A guest on the Wi-Fi has a private address too, so private addresses are not here."""
EVERY = ("0.0.0.0/0", "::/0")
_REMEMBERED = 4096


class AllowList:
    """The networks from which a receiver takes messages. The smallest network with an address decides."""

    def __init__(self, networks: Sequence[str], decisions: Decisions | None = None) -> None:
        """An operator's decision weighs more than the same network here. Raises ConfigError for a text that is not a network."""
        self._networks = [network(text) for text in networks]
        self._decisions = decisions or Decisions()
        self._known: dict[str, tuple[bool, bool]] = {}
        self._version = 0

    def allows(self, address: str) -> bool:
        """Whether this IP address may send; an IPv4 one may be written as IPv6."""
        return self._look_up(address)[0]

    def decided(self, address: str) -> bool:
        """Whether an operator's decision says so."""
        return self._look_up(address)[1]

    def _look_up(self, address: str) -> tuple[bool, bool]:
        if self._version != self._decisions.version or len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._version = self._decisions.version
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._verdict(address)
        return known

    def _verdict(self, address: str) -> tuple[bool, bool]:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False, False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        own = max((n.prefixlen for n in self._networks if ip in n), default=-1)
        decision = self._decisions.about(ip)
        if decision is not None and decision[0] >= own:
            return decision[1], True
        return own >= 0, False
