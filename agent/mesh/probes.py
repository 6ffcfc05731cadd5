"""Measures the way to other nodes: round trips, clocks, path MTU, and whether a connection can be made in each direction.

A node connects on request only to the addresses that the asking node itself announces, so that a member cannot make it
connect to anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from agent import __version__
from agent.errors import Refused, Unreachable, in_words
from agent.identity import PeerIdentity
from agent.mesh.addresses import split_address, usable_addresses
from agent.mesh.callbacks import Handler
from agent.model.decoding import DAMAGED
from agent.model.node import NodeRecord
from agent.platforms import TOOLS, firewall_tool
from agent.rates import Rates

PING, REACH = "net.ping", "net.reach"
LARGE = 16 * 1024
"""Bytes of padding of a large ping: more than any MTU, so that a path that drops full packets shows."""
MAX_ADDRESSES = 8
CONNECT_SECONDS = 2.0
REACH_EVERY = 2.0
"""Seconds between two `net.reach` of one node that are answered, on average."""
REACH_BURST = 5.0
_IP_MTU = 14
"""Socket option of Linux (ip(7)); the `socket` module does not name it."""
_IPV6_MTU = 24


class Ping(msgspec.Struct, array_like=True):
    """A request: `padding` goes one way, and as many bytes come back."""

    padding: bytes = b""


class Pong(msgspec.Struct, array_like=True):
    """The answer: the node's clock (Unix seconds), its version and its firewall tool."""

    time: float
    version: str
    firewall: str = ""
    padding: bytes = b""


class Tried(msgspec.Struct, array_like=True):
    """A connection that was tried: `error` is empty where it was made."""

    address: str
    error: str = ""


class RoundTrip(msgspec.Struct, frozen=True):
    """One ping: milliseconds, the other clock minus this one in seconds, and what the other node says of itself."""

    ms: float
    offset_s: float
    version: str
    firewall: str


class Calls(Protocol):
    """The part of the mesh that is used here."""

    def node(self, id_or_name: str) -> NodeRecord: ...
    async def call(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes: ...


class Probes:
    """Asks other nodes, and answers them."""

    def __init__(self, mesh: Calls, port: int) -> None:
        """`port` is used for announced addresses without a port."""
        self._mesh, self._port = mesh, port
        self._rates = Rates(1 / REACH_EVERY, REACH_BURST, names=1024)
        self.verbs: dict[str, Handler] = {PING: self._serve_ping, REACH: self._serve_reach}

    async def ping(self, node_id: str, *, padding: int = 0, timeout: float = 5.0) -> RoundTrip:
        """One round trip; raises Unreachable."""
        body = msgspec.msgpack.encode(Ping(bytes(padding)))
        asked_at, asked = time.time(), time.monotonic()
        raw = await self._mesh.call(node_id, PING, body, timeout=timeout)
        took = time.monotonic() - asked
        pong = _decoded(raw, Pong, node_id)
        firewall = pong.firewall if pong.firewall in TOOLS else ""
        return RoundTrip(took * 1e3, pong.time - (asked_at + took / 2), pong.version[:40], firewall)

    async def reach(self, node_id: str, *, timeout: float = 10.0) -> list[Tried]:
        """The result of each connection that the node makes to this node's announced addresses; raises Unreachable, Refused."""
        raw = await self._mesh.call(node_id, REACH, b"", timeout=timeout)
        return [Tried(t.address[:80], t.error[:120]) for t in _decoded(raw, list[Tried], node_id)[:MAX_ADDRESSES]]

    async def connect(self, record: NodeRecord) -> list[Tried]:
        """Connections from here to a node's announced addresses, at the same time."""
        addresses = usable_addresses(record.endpoints[:MAX_ADDRESSES], self._port)
        return list(await asyncio.gather(*(_tried(a) for a in addresses)))

    async def _serve_ping(self, _peer: PeerIdentity, body: bytes) -> bytes:
        try:
            asked = msgspec.msgpack.decode(body, type=Ping)
        except DAMAGED:
            raise Refused("the ping cannot be decoded", hint="it may come from another version") from None
        tool = await asyncio.to_thread(firewall_tool)
        return msgspec.msgpack.encode(Pong(time.time(), __version__, tool, bytes(min(len(asked.padding), LARGE))))

    async def _serve_reach(self, peer: PeerIdentity, _body: bytes) -> bytes:
        if wait := self._rates.take(peer.id):
            raise Refused("connections were tried a moment ago", hint=f"try again in {wait:.0f} s", code="busy")
        return msgspec.msgpack.encode(await self.connect(self._mesh.node(peer.id)))


T = TypeVar("T")


def _decoded(raw: bytes, kind: type[T], node: str) -> T:
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except DAMAGED:
        raise Unreachable(f"{node} sent an answer that cannot be decoded", hint="it may run another version") from None


async def _tried(address: str) -> Tried:
    host, port = split_address(address)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Tried(address, "no answer")
    except OSError as error:
        return Tried(address, in_words(error))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Tried(address)


def path_mtu(addresses: Sequence[str]) -> int | None:
    """The kernel's MTU in bytes of the way to the first of these `host:port` that has a route; None where it is unknown."""
    for address in addresses:
        host, port = split_address(address)
        six = ":" in host
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((host, port))
                level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if six else (socket.IPPROTO_IP, _IP_MTU)
                return probe.getsockopt(level, option)
            except OSError:  # no route, or a name; the next address may have one
                continue
    return None
