"""Who may send, and how much."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence

from agent.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOCAL = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)
"""Who may send where nothing else is said: private, link-local and loopback addresses."""
SENDERS = 1024
"""Senders whose rate is remembered."""


class AllowList:
    """The networks from which messages are taken."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Raises ConfigError for what is no network."""
        self._networks: list[Network] = []
        for text in networks:
            try:
                self._networks.append(ipaddress.ip_network(text))
            except ValueError as error:
                raise ConfigError(
                    f"allow: {error}", hint="write networks like 192.168.1.0/24 or 192.168.1.7"
                ) from error

    def allows(self, address: str) -> bool:
        """Whether this IP address may send; an IPv4 one may be written as IPv6."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._networks)


class Rates:
    """A token bucket for each sender: `rate` messages a second, and as many as ten seconds bring at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst = rate * 10
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, sender: str, now: float) -> float:
        """Take one; returns 0.0, or the seconds after which the next one is free (then nothing is taken)."""
        tokens, since = self._buckets.pop(sender, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        taken = tokens >= 1
        self._buckets[sender] = (tokens - 1 if taken else tokens, now)
        if len(self._buckets) > SENDERS:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) / self._rate
