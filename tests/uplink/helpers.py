"""An uplink that runs beside a test, and listeners that misbehave at a sink's address."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agent.identity.closing import abort
from agent.uplink import Uplink, UplinkSettings
from cloud_sink.certificate import ensure_certificate
from tests.sink.running import Building

KEY = "esk_abcdefgh_" + "k" * 43


class Settled:
    """The reports of an uplink."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.refused: list[tuple[str, str]] = []


@asynccontextmanager
async def running_uplink(
    state: Path, building: Building, **settings: float | int | bool
) -> AsyncIterator[tuple[Uplink, Settled]]:
    """An uplink with short pauses, running until the block ends."""
    quick = UplinkSettings(**{"first_pause": 0.02, "longest_pause": 0.2, **settings})  # type: ignore[arg-type]
    settled = Settled()
    uplink = Uplink(
        state,
        building.hello,
        settings=quick,
        sign=building.sign,
        certificate=building.certificate,
        delivered=settled.delivered.append,
        refused=lambda event, reason: settled.refused.append((event, reason)),
    )
    task = asyncio.create_task(uplink.run())
    try:
        yield uplink, settled
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class Listener:
    """A TLS server that keeps all it gets and answers as it is told."""

    def __init__(self, pin: str) -> None:
        self.pin = pin
        self.port = 0
        self.got = b""
        self.connections = 0

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}#sha256={self.pin}"


@asynccontextmanager
async def listener(data: Path, respond: Respond, *, port: int = 0) -> AsyncIterator[Listener]:
    """`respond(reader, writer, request)` is called for each whole HTTP request."""
    certificate, key, pin = ensure_certificate(data, ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    found = Listener(pin)
    writers: list[asyncio.StreamWriter] = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(
                    next(ln for ln in head.lower().split(b"\r\n") if ln.startswith(b"content-length")).split()[1]
                )
                request = head + await reader.readexactly(length)
                found.got += request
                await respond(reader, writer, request)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", port, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for writer in writers:
            abort(writer)
        await server.wait_closed()


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
