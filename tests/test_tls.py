"""Pinned TLS: a handshake with any other certificate ends in an error before a byte of ours is sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent.tls import WrongPin, pinned_context, unchecked_context
from cloud_sink.certificate import ensure_certificate

OTHER = "ab" * 32


class Server:
    """A TLS server on loopback; `said` is what its clients sent."""

    def __init__(self, pin: str) -> None:
        self.pin, self.port, self.said = pin, 0, b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.said += await reader.read(100)
        writer.write(b"hello")
        writer.close()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    certificate, key, pin = ensure_certificate(tmp_path, ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    served = Server(pin)
    async with await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=context) as listening:
        served.port = listening.sockets[0].getsockname()[1]
        yield served


def over_a_socket(port: int, context: ssl.SSLContext) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(b"secret")
        return tls.recv(100)


async def over_memory(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls, sent = context.wrap_bio(incoming, outgoing), False
    try:
        while True:
            try:
                tls.do_handshake()
                if not sent:
                    tls.write(b"secret")
                    sent = True
                writer.write(outgoing.read())
                return tls.read(100)
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(1 << 16))
    finally:
        writer.transport.abort()


async def over_asyncio(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"secret")
    answer = await reader.read(100)
    writer.transport.abort()
    return answer


async def spoken(way: str, port: int, context: ssl.SSLContext) -> bytes:
    if way == "socket":
        return await asyncio.to_thread(over_a_socket, port, context)
    return await (over_memory if way == "memory" else over_asyncio)(port, context)


@pytest.mark.parametrize("way", ["socket", "memory", "asyncio"])
async def test_the_pinned_certificate_is_spoken_to(server: Server, way: str) -> None:
    assert await spoken(way, server.port, pinned_context(server.pin)) == b"hello"
    assert server.said == b"secret"


@pytest.mark.parametrize("way", ["socket", "memory", "asyncio"])
async def test_another_certificate_hears_nothing(server: Server, way: str) -> None:
    with pytest.raises(WrongPin) as caught:
        await spoken(way, server.port, pinned_context(OTHER))
    assert caught.value.seen == server.pin
    await asyncio.sleep(0.05)
    assert server.said == b""


@pytest.mark.parametrize("right", [True, False])
def test_a_reset_in_the_handshake_does_not_hide_a_wrong_pin(tmp_path: Path, right: bool) -> None:
    certificate, key, pin = ensure_certificate(tmp_path, ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = context.wrap_bio(incoming, outgoing, server_side=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        plain = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()
    plain.setblocking(False)
    client = pinned_context(pin if right else OTHER)
    with client.wrap_socket(plain, do_handshake_on_connect=False) as tls:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        incoming.write(there.recv(1 << 16))
        with pytest.raises(ssl.SSLWantReadError):
            served.do_handshake()
        there.send(outgoing.read())
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.close()
        with pytest.raises(ConnectionError) as failed:
            tls.do_handshake()
    assert isinstance(failed.value, WrongPin) != right


async def test_an_unchecked_context_leaves_the_check_to_its_caller(server: Server) -> None:
    context = unchecked_context(ssl.TLSVersion.TLSv1_3)
    assert await spoken("asyncio", server.port, context) == b"hello"
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
