"""Where a receiver listens: the address as it is written, and its socket."""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from agent.errors import ConfigError


class Where(NamedTuple):
    """The parts of `udp://HOST:PORT`, `tcp://…` or `tls://…`; no host: all interfaces."""

    scheme: str
    host: str
    port: int


def parse_url(url: str, hint: str) -> Where:
    """The parts of the address; raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("udp", "tcp", "tls") or port is None or parts.path not in ("", "/") or parts.query:
        raise ConfigError(f"{url!r} is not an address to receive syslog on", hint=hint)
    return Where(parts.scheme, parts.hostname or "", port)


def listening(where: Where, buffer: int) -> socket.socket:
    """A bound socket that does not block, for both IP versions without a host; TCP listens. Raises OSError.

    `buffer` is the room for received bytes to ask for.
    """
    host, kind = where.host, socket.SOCK_DGRAM if where.scheme == "udp" else socket.SOCK_STREAM
    if not host and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - the allow-list decides which senders are accepted
    family = socket.getaddrinfo(host, where.port, type=kind)[0][0] if host else socket.AF_INET6
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host else 0)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.bind((host or "::", where.port))
        if kind == socket.SOCK_STREAM:
            sock.listen(256)
    except OSError:
        sock.close()
        raise
    return sock


def plain(address: str) -> str:
    """An address as people write it: without the interface, and an IPv4 address of an IPv6 socket as IPv4."""
    return address.removeprefix("::ffff:").partition("%")[0]
