"""One TLS connection to a pinned sink, with every byte on the wire counted, and HTTP/1.1 over it.

TLS runs over memory (`ssl.MemoryBIO`) on a plain asyncio stream, because only this shows the bytes that really cross
the socket, with handshake and record headers. The count is TCP payload; TCP/IP headers and retransmissions are not
in it. The certificate is compared with the pin as soon as the handshake is done and before the first byte of a
request is made. HTTP framing is h11's, so that half answers and garbage are errors and never taken for an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable

import h11

from agent.errors import SinkError, Unreachable, in_words
from agent.tls import WrongPin, pinned_context
from agent.uplink.address import SinkAddress
from agent.uplink.meter import Meter
from agent.uplink.outcome import Answer

MAX_ANSWER = 64 * 1024
"""Largest answer of a sink that is read, in bytes; a longer one is garbage."""
CONNECT_TIMEOUT = 10.0
"""Seconds for TCP and TLS together."""
_CHUNK = 64 * 1024


class BadAnswer(SinkError):
    """The sink was reached and sent, but its answer is cut, too long, or not HTTP. The request may have had its
    effect.
    """

    code = "sink.answer"


class PinMismatch(SinkError):
    """Somebody else answers at the sink's address, or the sink has a new certificate."""

    code = "sink.pin"


class PinnedConnection:
    """One connection, for one request at a time; `meter` counts its bytes on the wire."""

    def __init__(self, address: SinkAddress) -> None:
        self.address = address
        self.meter = Meter()
        self._served = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=16 * 1024)
        self._tls = pinned_context(address.pin).wrap_bio(self._incoming, self._outgoing, server_hostname=None)

    async def open(self) -> None:
        """Connect, shake hands and check the pin. Raises Unreachable or PinMismatch."""
        a = self.address
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                self._reader, self._writer = await asyncio.open_connection(a.host, a.port, limit=_CHUNK)
                await self._handshake()
        except WrongPin as e:
            await self.close()
            raise PinMismatch(
                f"the certificate at {a.url} is not the pinned certificate (sha256 {e.seen[:16]}…)",
                hint="if the sink was set up again, connect it again with the line that it prints",
            ) from e
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as e:
            await self.close()
            raise Unreachable(
                f"the sink at {a.url} cannot be reached: {_reason(e)}", hint="is `edge-sink serve` running there?"
            ) from e

    async def request(self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
        """One request and its whole answer.

        Raises BadAnswer, but Unreachable where a connection that has served before gave nothing at all: it was probably
        closed while it was idle, which says nothing about this request.
        """
        a = self.address
        head = [("host", f"{a.host}:{a.port}"), ("content-length", str(len(body))), *headers]
        started = self._served == 0
        try:
            data = self._http.send(h11.Request(method=method, target=path, headers=head)) or b""
            if body:
                data += self._http.send(h11.Data(data=body)) or b""
            data += self._http.send(h11.EndOfMessage()) or b""
            await self._write(data)
            answer: Answer | None = None
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    received = await self._read()
                    started = started or bool(received)
                    self._http.receive_data(received)
                elif isinstance(event, h11.Response):
                    answer = Answer(
                        event.status_code, {k.decode("latin-1"): v.decode("latin-1") for k, v in event.headers}, b""
                    )
                elif isinstance(event, h11.Data) and answer is not None:
                    answer.body += event.data
                    if len(answer.body) > MAX_ANSWER:
                        raise BadAnswer(f"the answer of {a.url} is longer than {MAX_ANSWER} bytes")
                elif isinstance(event, h11.EndOfMessage) and answer is not None:
                    return answer
                elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    raise BadAnswer(f"{a.url} closed the connection instead of answering")
        except h11.ProtocolError as e:
            kind: type[BadAnswer | Unreachable] = BadAnswer if started else Unreachable
            raise kind(f"no whole answer from {a.url}: {e}", hint="is this the sink's address?") from e
        except (OSError, EOFError) as e:
            kind = BadAnswer if started else Unreachable
            raise kind(f"the connection to {a.url} broke: {_reason(e)}") from e

    def reusable(self) -> bool:
        """Make ready for the next request; False when the connection has to be replaced."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._served += 1
        return self._reader is not None and not self._reader.at_eof()

    async def stale(self) -> bool:
        """Whether the other side has closed the connection while it was idle. Reads what has come, waits for nothing."""
        if self._reader is None:
            return True
        try:
            async with asyncio.timeout(0):
                while await self._feed():
                    pass
        except TimeoutError:
            pass
        except OSError:
            return True
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            return True
        return True  # an answer without a request

    async def close(self) -> None:
        """Close the socket; safe to call twice."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _handshake(self) -> None:
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except OSError:
                with contextlib.suppress(OSError):  # a reset must not hide the cause, such as a wrong pin
                    await self._flush()
                raise
            await self._flush()
            if not done:
                await self._feed()

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            self._tls.write(view[start : start + _CHUNK])
            await self._flush()

    async def _read(self) -> bytes:
        while True:
            try:
                return self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            if self._writer is None:
                raise ConnectionError("closed")
            self._writer.write(data)
            self.meter.up += len(data)
            await self._writer.drain()

    async def _feed(self) -> bool:
        if self._reader is None:
            raise ConnectionError("closed")
        data = await self._reader.read(_CHUNK)
        self.meter.down += len(data)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return bool(data)


def _reason(e: BaseException) -> str:
    return "no answer in time" if isinstance(e, TimeoutError) else in_words(e)
