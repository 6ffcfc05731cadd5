"""Connections without a request: the sink closes them, and other clients do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import h11
import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from agent.door import holder
from cloud_sink import connections
from cloud_sink.connections import Door, ImpatientProtocol
from tests.sink.running import running_sink
from tests.support import eventually

GET = b"GET / HTTP/1.1\r\nHost: sink\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: sink\r\nContent-Length: 10\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[..., Awaitable[Streams]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the request's body."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(body or b"nothing")(scope, receive, send)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """A server behind a door on loopback."""
    listener = Door(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=ImpatientProtocol, lifespan="off", log_config=None, timeout_keep_alive=60)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    yield listener
    server.should_exit = True
    await serving


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.COMES_WITHIN, h11.IDLE, 0.3)
    monkeypatch.setitem(connections.COMES_WITHIN, h11.SEND_BODY, 0.3)


@pytest.fixture
async def connect(door: Door) -> AsyncIterator[Connect]:
    """Open connections to the door from an address of this machine."""
    opened: list[asyncio.StreamWriter] = []

    async def connected(address: str = "127.0.0.1") -> Streams:
        host, port = door.getsockname()
        streams = await asyncio.open_connection(host, port, local_addr=(address, 0))
        opened.append(streams[1])
        return streams

    yield connected
    for writer in opened:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await eventually(lambda: not door._open.total())


async def answer(streams: Streams, request: bytes = GET) -> bytes:
    reader, writer = streams
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return await reader.readexactly(7 if b"content-length: 7" in head else 10)


async def ended(streams: Streams) -> bool:
    """True if the other side closes the connection without an answer."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(streams[0].read(1), 20) == b""
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", GET[:-1], POST, POST + b"half", GET + GET[:-1], GET + POST],
    ids=["nothing", "half a head", "no body", "half a body", "half a second head", "no second body"],
)
@pytest.mark.usefixtures("impatient")
async def test_connection_with_an_unfinished_request_is_closed(connect: Connect, sent: bytes) -> None:
    streams = await connect()
    if sent.startswith(GET):
        await answer(streams)
        sent = sent.removeprefix(GET)
    streams[1].write(sent)
    assert await ended(streams)


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nX: ", POST.replace(b"10", b"100000")])
@pytest.mark.usefixtures("impatient")
async def test_single_bytes_do_not_extend_the_time_limit(connect: Connect, begin: bytes) -> None:
    streams = await connect()
    streams[1].write(begin)
    end = asyncio.create_task(ended(streams))
    while not end.done():
        streams[1].write(b"x")
        await asyncio.sleep(0.02)
    assert await end


@pytest.mark.usefixtures("impatient")
async def test_a_connection_between_two_requests_is_kept(connect: Connect) -> None:
    streams = await connect()
    assert await answer(streams) == b"nothing"
    other = await connect()
    assert await ended(other), "an idle connection without a first request is closed"
    assert await answer(streams, POST + b"0123456789") == b"0123456789"


async def test_pipelined_request_is_answered_and_a_half_request_cut(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.COMES_WITHIN, h11.SEND_BODY, 0.1)
    streams = await connect()
    assert await answer(streams, GET + POST) == b"nothing"
    assert await ended(streams)


async def test_one_address_cannot_take_all_connections(
    door: Door, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "PER_ADDRESS", 3)
    monkeypatch.setattr(connections, "_told", set())
    held = [await connect() for _ in range(3)]
    for _ in range(2):
        assert await ended(await connect())
    assert await answer(await connect("127.0.0.2")) == b"nothing"
    assert [r.getMessage() for r in caplog.records if "127.0.0.1" in r.getMessage()] == [
        "closing connections from 127.0.0.1: too many connections"
    ]
    held.pop()[1].close()
    await eventually(lambda: door._open["127.0.0.1"] == 2)
    assert await answer(await connect()) == b"nothing"


@pytest.mark.parametrize(
    ("address", "counts_for"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::7%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_host_counts_with_its_network(address: str, counts_for: str) -> None:
    assert holder(address) == counts_for


async def test_ipv4_host_on_an_ipv6_socket_counts_by_its_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PER_ADDRESS", 1)
    with Door(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP) as door, contextlib.ExitStack() as stack:
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        door.bind(("::", 0))
        door.listen()
        for address in ("127.0.0.1", "127.0.0.2", "::1"):
            there = (address, door.getsockname()[1])
            stack.enter_context(socket.create_connection(there, source_address=(address, 0)))
            stack.enter_context(door.accept()[0])
        assert set(door._open) == {"127.0.0.1", "127.0.0.2", "::/64"}
        stack.enter_context(socket.create_connection(("::1", door.getsockname()[1])))
        with pytest.raises(ConnectionAbortedError):
            door.accept()


async def test_failed_or_missing_handshakes_leave_room_for_others(tmp_path: Path) -> None:
    async with running_sink(tmp_path / "sink") as sink:
        for _ in range(2 * connections.PER_ADDRESS):
            reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
            writer.write(GET)
            await asyncio.wait_for(reader.read(), 20)
            writer.close()
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(connections.PER_ADDRESS):
                _, writer = await asyncio.open_connection("127.0.0.1", sink.port, local_addr=("127.0.0.2", 0))
                stack.callback(writer.close)
            trusted = ssl.create_default_context(cafile=str(tmp_path / "sink" / "tls" / "certificate.pem"))
            async with httpx.AsyncClient(base_url=sink.url, verify=trusted) as client:
                assert (await client.get("/healthz")).text == "ok\n"
        assert "too many connections" not in sink.log.read_text()


async def test_number_of_all_connections_is_limited(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ALL", 2)
    first = await connect()
    assert await answer(first) == b"nothing"
    await connect("127.0.0.2")
    assert await ended(await connect("127.0.0.3"))
    assert await answer(first) == b"nothing"
