"""Messages over TCP and TLS: connections, within limits."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from agent.errors import in_words
from agent.rates import Rates
from agent.sources.syslog.frames import Framer
from agent.sources.syslog.inbox import MAX_MESSAGE, SENDERS, Inbox
from agent.sources.syslog.sockets import plain

logger = logging.getLogger(__name__)

CONNECTIONS = 512
"""Connections at once in all; more wait in the kernel."""
IDLE = 3600.0
"""Seconds after which a silent connection is closed."""
PAUSE = 1.0
"""Seconds without a byte after which a message whose count may be wrong is taken as it is."""
HANDSHAKE = 10.0
LOOKS, LOOK = 8, 5.0
"""Connections at once of senders that are not allowed, and seconds for each: one message is read, so that a person recognises it."""
LOOKS_RATE, LOOKS_BURST = 0.2, 3.0
"""Such connections of one sender a second, and at once."""


class Streams:
    """Accepts connections and puts their messages into the inbox."""

    def __init__(self, inbox: Inbox, each: int, context: Callable[[], ssl.SSLContext | None]) -> None:
        """`each` limits the connections of one sender; `context` gives the TLS for a new connection, None: without TLS."""
        self._inbox, self._each, self._context = inbox, each, context
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._open: Counter[str] = Counter()
        self._looks = Rates(LOOKS_RATE, LOOKS_BURST, names=SENDERS)
        self._looking = 0
        self._problem = ""

    async def run(self, listener: socket.socket) -> None:
        """Accept connections until cancelled, then close all."""
        try:
            while True:
                await self._slots.acquire()
                sock, address = await self._accepted(listener)
                task = asyncio.create_task(self._connection(sock, plain(address[0])))
                self._tasks.add(task)
                task.add_done_callback(self._closed)
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        while True:
            try:
                return await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:  # too many open files, or the peer is gone already
                if str(error) != self._problem:
                    logger.warning("%s: a connection has to wait: %s", self._inbox.name, in_words(error))
                self._problem = str(error)
                await asyncio.sleep(0.1)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: a connection failed", self._inbox.name, exc_info=error)

    async def _connection(self, sock: socket.socket, sender: str) -> None:
        with sock:
            if not self._inbox.allows(sender):
                await self._look(sock, sender)
            elif self._open[sender] >= self._each:
                self._inbox.drop("connections", sender)
            else:
                self._open[sender] += 1
                try:
                    await self._read(sock, sender, self._messages)
                finally:
                    self._open[sender] -= 1
                    if not self._open[sender]:
                        del self._open[sender]

    async def _look(self, sock: socket.socket, sender: str) -> None:
        """Drop the messages of a sender that is not allowed; where there is time for it, read a message first."""
        if self._looking >= LOOKS or self._looks.take(sender):
            self._inbox.drop("not allowed", sender)
            return
        self._looking += 1
        try:
            async with asyncio.timeout(LOOK):
                await self._read(sock, sender, self._one_message)
        except TimeoutError:
            self._inbox.drop("not allowed", sender)
        finally:
            self._looking -= 1

    async def _read(
        self, sock: socket.socket, sender: str, read: Callable[[asyncio.StreamReader, str], Awaitable[None]]
    ) -> None:
        reader, context = asyncio.StreamReader(limit=MAX_MESSAGE), self._context()
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader),
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE if context else None,
            )
        except OSError as error:
            self._inbox.drop("tls", sender)
            logger.debug("syslog from %s: %s", sender, error)
            return
        try:
            await read(reader, sender)
        except OSError as error:
            logger.debug("syslog from %s: %s", sender, error)
        finally:
            transport.abort()

    async def _messages(self, reader: asyncio.StreamReader, sender: str) -> None:
        framer, data, settled = Framer(MAX_MESSAGE), b"", False
        while not framer.lost:
            pause = framer.unsure and not settled
            try:
                async with asyncio.timeout(PAUSE if pause else IDLE):
                    data = await reader.read(MAX_MESSAGE * 4)
            except TimeoutError:
                if not pause:
                    return
                messages, settled = framer.settle(), True
            else:
                messages, settled = framer.feed(data) if data else framer.rest(), False
            self._inbox.counters.cut += framer.cut
            if framer.malformed or framer.lost:
                self._inbox.drop("malformed", sender, max(1, framer.malformed))
            framer.cut = framer.malformed = 0
            for message in messages:
                if not self._inbox.allows(sender):
                    self._inbox.drop("not allowed", sender, last=message)
                    return
                await self._inbox.put(message, sender)
            if not data:
                return

    async def _one_message(self, reader: asyncio.StreamReader, sender: str) -> None:
        framer = Framer(MAX_MESSAGE)
        messages = framer.feed(await reader.read(MAX_MESSAGE)) or framer.rest() or [b""]
        self._inbox.drop("not allowed", sender, len(messages), last=messages[-1])
