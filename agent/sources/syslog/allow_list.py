"""The networks that may send."""

from __future__ import annotations

import ipaddress
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
"""The networks that may send by default: private, link-local and loopback addresses."""


class AllowList:
    """The networks from which messages are accepted."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Raises ConfigError for a text that is not a network."""
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
