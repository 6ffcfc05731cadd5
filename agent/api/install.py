"""The install server of a node: HTTPS with the node's key, for devices that are in no mesh yet."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Any

from agent.api.light_uvicorn import Config, H11Protocol
from agent.api.server import QuietServer
from agent.door import Door
from agent.errors import CannotListen, listen_hint
from agent.handout import Handout

MOST, EACH = 32, 8
"""Most connections, in all and of one sender."""
ASKS_WITHIN, ENDS_WITHIN = 20.0, 900.0
"""Seconds until a connection must have asked for something, and until it is cut: 20 MB at 25 kB/s fit in."""


async def serve_install(folder: Path, host: str, port: int, context: ssl.SSLContext) -> None:
    """Hand out the folder's release until cancelled; raises CannotListen."""
    listener = _listen(host, port)
    server = QuietServer(
        Config(
            Handout(folder),
            http=_ShortLived,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=8 * 1024,
            ssl_context_factory=lambda _config, _default: context,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]), name="install")
    try:
        await asyncio.shield(task)
    finally:
        server.end()
        await asyncio.wait({task})
        listener.close()


class _Door(Door):
    """Closes connections over MOST or EACH; a device that waits tries again."""

    def limits(self) -> tuple[int, int]:
        return MOST, EACH


class _ShortLived(H11Protocol):
    """uvicorn's protocol, which cuts connections that ask for nothing, or that last too long."""

    _timers: tuple[asyncio.TimerHandle, ...] = ()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timers = (
            self.loop.call_later(ASKS_WITHIN, self._cut_silent),
            self.loop.call_later(ENDS_WITHIN, self.transport.abort),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        super().connection_lost(exc)

    def _cut_silent(self) -> None:
        if getattr(self, "cycle", None) is None:  # before the first request
            self.transport.abort()


def _listen(host: str, port: int) -> socket.socket:
    listener = _Door(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(MOST)
        listener.setblocking(False)
    except OSError as e:
        listener.close()
        raise CannotListen(
            f"cannot listen on {host}, port {port} for devices that are to be installed: {os.strerror(e.errno or 0)}",
            hint=listen_hint(e.errno or 0, "install.port", "mesh.listen"),
        ) from e
    return listener
