"""Who may hold a connection to the sink, and for how long: it listens to the whole Internet.

uvicorn limits the size of a request's head and the time between requests, but neither the time in which a request
comes nor the connections that have not finished their TLS handshake (asyncio ends that after 60 s).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cloud_sink import metrics

logger = logging.getLogger(__name__)

ALL = 900
"""Most connections; below the usual limit of 1,024 open files, with room for the database and photos."""
PER_ADDRESS = 100
"""Most connections of one `holder`."""
COMES_WITHIN: dict[Any, float] = {h11.IDLE: 20.0, h11.SEND_BODY: 90.0}
"""Seconds in which a request's head must be complete, and then its body; the longest body is answered before that."""

_told: set[tuple[str, str]] = set()


def holder(address: str) -> str:
    """Whom an address counts for: an IPv4 address itself, also in IPv6 clothes; of IPv6 the /64, which one host can have
    all of (RFC 4291, 2.5.1).
    """
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip), 64), strict=False))
    return address


def _refused(why: str, address: str) -> None:
    metrics.REFUSED.labels(why).inc()
    if (why, address) not in _told and len(_told) < 1000:
        _told.add((why, address))
        logger.warning("connections from %s are closed: %s", address, why)


class _Counted(socket.socket):
    """An accepted connection that tells when it is closed."""

    left: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        left, self.left = self.left, None
        if left is not None:
            left()


class Door(socket.socket):
    """A listening socket that closes at once what is over ALL or PER_ADDRESS, whatever state the others are in."""

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        super().__init__(family, kind, protocol)
        self._open: Counter[str] = Counter()

    def accept(self) -> tuple[socket.socket, Any]:
        """As a socket's; raises ConnectionAbortedError, which asyncio takes for "none now", where it let nobody in."""
        plain, peer = super().accept()
        address = holder(peer[0])
        if self._open[address] >= PER_ADDRESS or self._open.total() >= ALL:
            plain.close()
            _refused("too many connections", address)
            raise ConnectionAbortedError
        self._open[address] += 1
        connection = _Counted(plain.family, plain.type, plain.proto, plain.detach())
        connection.left = lambda: self._leave(address)
        return connection, peer

    def _leave(self, address: str) -> None:
        self._open -= Counter([address])


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, without those who begin a request and do not end it in time."""

    _awaited: Any = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def _watch(self) -> None:
        """Give the part of the request that is awaited now its time; between requests uvicorn's own limit holds."""
        awaited = None if self.timeout_keep_alive_task is not None else self.conn.their_state
        if awaited is self._awaited:
            return
        self._awaited = awaited
        if self._timer is not None:
            self._timer.cancel()
        seconds = COMES_WITHIN.get(awaited)
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._cut)

    def _cut(self) -> None:
        _refused("requests too slow", holder(self.client[0]) if self.client else "?")
        self.transport.abort()
