"""Addresses: `host:port` texts, and the addresses of this host."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable

import psutil

from agent.errors import ConfigError

logger = logging.getLogger(__name__)

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")
"""RFC 1123, section 2.1, and underscores; for other names resolvers raise errors other than OSError."""
_LOCAL_ONLY = ("docker", "br-", "veth", "virbr", "podman", "cni")
"""Interfaces with addresses that other hosts cannot use."""


def parse_address(text: str, default_port: int) -> str:
    """`host:port` of `host`, `host:port`, `[v6]` or `[v6]:port`; raises ConfigError for another text."""
    host, port = text.strip(), str(default_port)
    if match := re.fullmatch(r"\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]{1,15})?)\](?::(\d+))?", host):
        host, port = match[1], match[2] or port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    try:
        number = int(port)
        bare = str(ipaddress.ip_address(host)) if ":" in host else host
    except ValueError:
        number, bare = 0, host
    if not 0 < number < 65536 or not (":" in bare or _HOST.match(bare)):
        raise ConfigError(f"{text!r} is not an address", hint="write it like 192.168.1.10:7946")
    return f"[{bare}]:{number}" if ":" in bare else f"{bare}:{number}"


def usable_addresses(addresses: Iterable[str], default_port: int) -> list[str]:
    """The valid addresses among those that other nodes sent, as `parse_address` writes them."""
    found = []
    for text in addresses:
        try:
            found.append(parse_address(text, default_port))
        except ConfigError as error:
            logger.debug("an address is not dialled: %s", error)
    return found


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a result of `parse_address`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def local_addresses(listen: str, port: int) -> list[str]:
    """The `host:port` by which other hosts may reach a listener on `listen`.

    The listener's address, or the addresses of all interfaces of this host where it listens on all of them.
    """
    ip = _listen_ip(listen)
    if not ip.is_unspecified:
        return [parse_address(f"[{listen}]" if ip.version == 6 else listen, port)]
    found = []
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    for name, addresses in psutil.net_if_addrs().items():
        if name in up and not name.startswith(_LOCAL_ONLY):
            found += [a.address for a in addresses if a.family == socket.AF_INET]
            if ip.version == 6:
                found += [f"[{a.address}]" for a in addresses if a.family == socket.AF_INET6 and "%" not in a.address]
    return sorted(parse_address(a, port) for a in found if not a.startswith("127.") and a != "[::1]")


def own_listener(listen: str, port: int) -> str:
    """The `host:port` by which this host reaches its own listener."""
    ip = _listen_ip(listen)
    host = listen if not ip.is_unspecified else ("127.0.0.1" if ip.version == 4 else "::1")
    return parse_address(f"[{host}]" if ":" in host else host, port)


def _listen_ip(listen: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(listen)
    except ValueError:
        raise ConfigError(f"mesh.listen: {listen!r} is not an IP address", hint="write 0.0.0.0 for all") from None
