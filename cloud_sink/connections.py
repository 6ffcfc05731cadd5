"""Limits on connections to the sink, in number and time: it listens to the whole Internet.

uvicorn limits the size of a request's head and the time between requests. It limits neither the time that a request
takes to arrive, nor connections that have not finished their TLS handshake (asyncio ends these after 60 s).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from agent import door
from agent.door import holder
from cloud_sink import metrics

logger = logging.getLogger(__name__)

ALL = 900
"""Most connections; below the usual limit of 1,024 open files, to leave room for the database and photos."""
PER_ADDRESS = 100
"""Most connections of one `holder`."""
COMES_WITHIN: dict[Any, float] = {h11.IDLE: 20.0, h11.SEND_BODY: 90.0}
"""Seconds in which a request's head, and then its body, must be complete; `BODY_TIMEOUT` of ingest is shorter."""

_told: set[tuple[str, str]] = set()


def _refused(why: str, address: str) -> None:
    metrics.REFUSED.labels(why).inc()
    if (why, address) not in _told and len(_told) < 1000:
        _told.add((why, address))
        logger.warning("closing connections from %s: %s", address, why)


class Door(door.Door):
    """A listening socket that closes connections over ALL or PER_ADDRESS at once."""

    def limits(self) -> tuple[int, int]:
        """See `agent.door`."""
        return ALL, PER_ADDRESS

    def refused(self, address: str) -> None:
        """Count it; the log has one line for each address."""
        _refused("too many connections", address)


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, which closes connections whose request does not arrive in time."""

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
        """Start the timer of the part of the request that is awaited now; uvicorn limits the time between requests."""
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
