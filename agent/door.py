"""A listening socket that limits its connections: in all, and for each sender."""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any


def holder(address: str) -> str:
    """The holder that an address counts for.

    It is the IPv4 address itself, also if it is mapped into IPv6. For IPv6 it is the /64 network, because one host can
    have all its addresses (RFC 4291, 2.5.1).
    """
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip), 64), strict=False))
    return address


class _Counted(socket.socket):
    """An accepted connection that calls `left` when it is closed."""

    left: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        left, self.left = self.left, None
        if left is not None:
            left()


class Door(socket.socket):
    """A listening socket that closes connections over its limits at once, before a TLS handshake."""

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        super().__init__(family, kind, protocol)
        self._open: Counter[str] = Counter()

    def limits(self) -> tuple[int, int]:
        """Most connections in all, and of one `holder`."""
        raise NotImplementedError

    def refused(self, address: str) -> None:
        """Called with the holder of each connection that was closed."""

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Raises ConnectionAbortedError, which asyncio ignores, for a connection over the limit."""
        plain, peer = super().accept()
        address = holder(peer[0])
        most, each = self.limits()
        if self._open[address] >= each or self._open.total() >= most:
            plain.close()
            self.refused(address)
            raise ConnectionAbortedError
        self._open[address] += 1
        connection = _Counted(plain.family, plain.type, plain.proto, plain.detach())
        connection.left = lambda: self._leave(address)
        return connection, peer

    def _leave(self, address: str) -> None:
        self._open -= Counter([address])
