"""Messages over UDP."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from agent.sources.syslog.inbox import Inbox
from agent.sources.syslog.messages import messages_of
from agent.sources.syslog.sockets import plain

logger = logging.getLogger(__name__)


class Datagrams(asyncio.DatagramProtocol):
    """Puts the messages of each datagram into the inbox."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def listen(self, sock: socket.socket) -> asyncio.DatagramTransport:
        """Receive from this socket until the transport is closed."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)
        return transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """See DatagramProtocol."""
        sender = plain(addr[0])
        if not self._inbox.allows(sender):
            self._inbox.drop("not allowed", sender, last=data)
            return
        for message in messages_of(data):
            self._inbox.offer(message, sender)

    def error_received(self, exc: Exception) -> None:
        """See DatagramProtocol."""
        logger.debug("syslog: %s", exc)
