"""Lines that other devices send: UDP and TCP, RFC 3164 and 5424, from allowed networks, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from agent.errors import ConfigError
from agent.rates import Rates
from agent.sources.batch import MAX_BATCH, Batch, Counters, Position, SenderCount
from agent.sources.mark import new_generation
from agent.sources.syslog.allow_list import LOCAL, AllowList
from agent.sources.syslog.frames import BadFrame, Framer
from agent.sources.syslog.messages import to_line
from agent.sources.syslog.senders import SenderBook, sample

logger = logging.getLogger(__name__)

MAX_MESSAGE = 16 * 1024
"""Longest message in bytes; longer messages are cut."""
MAX_WAITING = 4 * MAX_BATCH
"""Bytes of lines that may wait for the reader; beyond it TCP senders wait, and UDP messages are dropped."""
CONNECTIONS, CONNECTIONS_EACH = 64, 8
"""TCP connections at once, in all and from one sender."""
IDLE = 3600.0
"""Seconds after which a silent connection is closed."""
RATE = 1000.0
"""Messages a second from one sender, by default."""
BURST = 10.0
"""Largest burst of one sender: the messages that its rate allows in this many seconds."""
SENDERS = 1024
"""Number of senders with a remembered rate."""
_HINT = 'write it like {syslog: "udp://:5514", allow: [192.168.1.0/24], rate: 1000}'


class SyslogSource:
    """A receiver at `udp://HOST:PORT` or `tcp://HOST:PORT` (no host: all interfaces).

    Received lines have no position; their ids come from a random generation and a count.
    """

    def __init__(self, url: str, *, allow: Sequence[str] = LOCAL, rate: float = RATE) -> None:
        """`rate` is in messages a second for each sender. Raises ConfigError for an invalid address or network."""
        self.name = url
        self.counters = Counters()
        self.problem = ""
        self.port = 0
        self._scheme, self._host, self._wanted = _address(url)
        self._allow = AllowList(allow)
        self._rates = Rates(rate, rate * BURST, names=SENDERS)
        self._senders = SenderBook()
        self._lines: deque[tuple[bytes, str]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._open: Counter[str] = Counter()
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> SyslogSource:
        """The receiver that a pipeline or the configuration describes; raises ConfigError."""
        allow, rate = spec.get("allow", list(LOCAL)), spec.get("rate", RATE)
        if (
            not isinstance(spec["syslog"], str)
            or not isinstance(allow, list)
            or not all(isinstance(a, str) for a in allow)
        ):
            raise ConfigError(f"{dict(spec)!r} is not a syslog receiver", hint=_HINT)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
            raise ConfigError(f"rate: {rate!r} is not a number of messages a second", hint=_HINT)
        return cls(spec["syslog"], allow=allow, rate=float(rate))

    def senders(self) -> list[SenderCount]:
        """See LineSource."""
        return self._senders.all()

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Lines as they come; `position` is ignored. Raises ConfigError where the port is not available."""
        generation, offset = new_generation(), 0
        async with self._listening():
            while True:
                await self._arrived.wait()
                data, senders = self._take()
                batch = Batch(generation, offset, data, None, senders=senders)
                offset += len(data)
                self.counters.lines += batch.lines
                self.counters.bytes += len(data)
                yield batch

    def _take(self) -> tuple[bytes, list[str]]:
        lines, senders, size = [], [], 0
        while self._lines and size + len(self._lines[0][0]) <= MAX_BATCH:
            line, sender = self._lines.popleft()
            lines.append(line)
            senders.append(sender)
            size += len(line)
        self._bytes -= size
        if not self._lines:
            self._arrived.clear()
        if self._bytes < MAX_WAITING // 2:
            self._room.set()
        return b"".join(lines), senders

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        listen = self._listen_udp if self._scheme == "udp" else self._listen_tcp
        async with contextlib.AsyncExitStack() as stack:
            try:
                self.port = await listen(stack)
            except OSError as error:
                raise ConfigError(
                    f"{self.name}: {error}", hint="another program may use this port: choose another port"
                ) from error
            yield

    # -- UDP ----------------------------------------------------------------------------------------

    async def _listen_udp(self, stack: contextlib.AsyncExitStack) -> int:
        sock = _udp_socket(self._host, self._wanted)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(self), sock=sock)
        stack.callback(transport.close)
        return int(sock.getsockname()[1])

    def datagram(self, data: bytes, sender: str) -> None:
        """Take one UDP packet, which is one message."""
        if not self._allow.allows(sender):
            self._drop("not allowed", sender, data)
        elif self._rates.take(sender):
            self._drop("rate", sender)
        elif self._bytes >= MAX_WAITING:
            self._drop("full", sender)
        else:
            if len(data) > MAX_MESSAGE:
                self.counters.cut += 1
            self._add(data[:MAX_MESSAGE], sender)

    # -- TCP ----------------------------------------------------------------------------------------

    async def _listen_tcp(self, stack: contextlib.AsyncExitStack) -> int:
        server = await asyncio.start_server(self._connection, self._host or None, self._wanted, limit=MAX_MESSAGE * 4)

        async def stop() -> None:
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            while self._writers:
                await asyncio.sleep(0)
            await server.wait_closed()

        stack.push_async_callback(stop)
        return int(server.sockets[0].getsockname()[1])

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender = _plain((writer.get_extra_info("peername") or ("?",))[0])
        refused = self._refuses(sender)
        if refused:
            self._drop(refused, sender)
            writer.transport.abort()
            return
        self._writers.add(writer)
        self._open[sender] += 1
        try:
            await self._stream(reader, sender)
        except (BadFrame, TimeoutError, OSError) as error:
            if isinstance(error, BadFrame):
                self._drop("malformed", sender)
            logger.debug("syslog from %s: %s", sender, error)
        finally:
            self._open[sender] -= 1
            if not self._open[sender]:
                del self._open[sender]
            writer.transport.abort()
            self._writers.discard(writer)

    def _refuses(self, sender: str) -> str:
        if not self._allow.allows(sender):
            return "not allowed"
        if len(self._writers) >= CONNECTIONS or self._open[sender] >= CONNECTIONS_EACH:
            return "connections"
        return ""

    async def _stream(self, reader: asyncio.StreamReader, sender: str) -> None:
        framer = Framer(MAX_MESSAGE)
        while True:
            async with asyncio.timeout(IDLE):
                data = await reader.read(MAX_MESSAGE * 4)
            messages = framer.feed(data) if data else [framer.rest()]
            self.counters.cut, framer.cut = self.counters.cut + framer.cut, 0
            for message in messages:
                while wait := self._rates.take(sender):
                    await asyncio.sleep(wait)
                await self._room.wait()
                self._add(message, sender)
            if not data:
                return

    # -- both ---------------------------------------------------------------------------------------

    def _add(self, message: bytes, sender: str) -> None:
        now = time.time()
        line = to_line(message, sender, now)
        if not line:
            return
        count = self._senders.heard(sender, allowed=True, now=now)
        count.lines, count.bytes, count.sample = count.lines + 1, count.bytes + len(line) + 1, sample(message)
        self._lines.append((line + b"\n", sender))
        self._bytes += len(line) + 1
        if self._bytes >= MAX_WAITING:
            self._room.clear()
        self._arrived.set()

    def _drop(self, reason: str, sender: str, message: bytes = b"") -> None:
        count = self._senders.heard(sender, allowed=self._allow.allows(sender), now=time.time())
        count.dropped[reason] = count.dropped.get(reason, 0) + 1
        if message:
            count.sample = sample(message)
        if self.counters.drop(reason):
            logger.warning(
                "%s: dropped a message from %s (%s); more of these are only counted", self.name, sender, reason
            )


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, source: SyslogSource) -> None:
        self._source = source

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._source.datagram(data, _plain(addr[0]))

    def error_received(self, exc: Exception) -> None:
        logger.debug("syslog: %s", exc)


def _plain(address: str) -> str:
    """An address as people write it: an IPv4 address of an IPv6 socket is written as IPv4."""
    return address.removeprefix("::ffff:")


def _udp_socket(host: str, port: int) -> socket.socket:
    """A bound socket, for both IP versions without a host; raises OSError."""
    if not host and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - the allow-list decides which senders are accepted
    family = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][0] if host else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host else 0)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MAX_WAITING)
        sock.bind((host or "::", port))
    except OSError:
        sock.close()
        raise
    return sock


def _address(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("udp", "tcp") or port is None or parts.path not in ("", "/") or parts.query:
        raise ConfigError(f"{url!r} is not an address to receive syslog on", hint=_HINT)
    return parts.scheme, parts.hostname or "", port
