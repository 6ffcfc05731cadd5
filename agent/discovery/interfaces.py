"""The addresses of this node, to announce and to listen on."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

import psutil

_INTERNAL = re.compile(r"(docker\d+|br-[0-9a-f]{12}|veth.*|virbr\d+|lxcbr\d+|cni\d+)\Z")
"""Networks inside this machine; other devices cannot reach their addresses."""


def own_addresses(interfaces: Sequence[str] | None = None) -> list[str]:
    """This node's addresses, IPv4 first, of these interfaces (names or addresses).

    By default these are the addresses of all interfaces that lead out of this machine. Link-local addresses are left
    out where the interface has others; link-local IPv6 always, since it needs the interface's name.
    """
    found: list[str] = []
    states = psutil.net_if_stats()
    for name, addresses in psutil.net_if_addrs().items():
        if name not in states or not states[name].isup:
            continue
        texts = [a.address for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
        found += _usable([t for t in texts if _chosen(name, t, interfaces)])
    return sorted(dict.fromkeys(found), key=lambda t: (":" in t, t))


def _chosen(name: str, address: str, interfaces: Sequence[str] | None) -> bool:
    if interfaces is not None:
        return name in interfaces or address in interfaces
    return not _INTERNAL.match(name) and not ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _usable(texts: list[str]) -> list[str]:
    plain = [ipaddress.ip_address(t) for t in texts if "%" not in t]
    wide = [a for a in plain if not a.is_link_local]
    return [str(a) for a in wide or [a for a in plain if a.version == 4]]
