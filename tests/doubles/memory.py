"""A mesh in one process: calls go straight to the other node's handler unless a link is cut or a node is down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from agent.blobs import Registry
from agent.blobs.deleting import Deleter
from agent.errors import BlobError, Unreachable
from agent.model.cid import raw_cid
from agent.model.node import Capacity, NodeRecord


@dataclass
class Peer:
    """The caller, as the real mesh's PeerIdentity shows it."""

    id: str
    name: str
    role: str = "member"


class MemoryNet:
    """Nodes by id; `lose` is the share of calls whose answer is lost after the other side acted."""

    def __init__(self, seed: int = 0, lose: float = 0.0) -> None:
        self.nodes: dict[str, MemoryMesh] = {}
        self.cut: set[frozenset[str]] = set()
        self.removed: set[str] = set()
        self.random = random.Random(seed)
        self.lose = lose
        self.calls = 0

    def join(self, node_id: str, labels: dict[str, str] | None = None) -> MemoryMesh:
        """A node that is live at once."""
        mesh = MemoryMesh(self, node_id, labels or {})
        self.nodes[node_id] = mesh
        for other in self.nodes.values():
            if other is not mesh:
                other.tell(mesh.record, True)
        return mesh

    def leave(self, node_id: str) -> None:
        """The node dies without a word, and what it was doing for others with it."""
        gone = self.nodes.pop(node_id)
        for task in gone.serving:
            task.cancel()
        for other in self.nodes.values():
            other.tell(gone.record, False)

    def sees(self, a: str, b: str) -> bool:
        return a in self.nodes and b in self.nodes and frozenset((a, b)) not in self.cut


class MemoryMesh:
    """One node's view."""

    def __init__(self, net: MemoryNet, node_id: str, labels: dict[str, str]) -> None:
        self.net = net
        self.id = node_id
        labels = {**labels, "node": node_id, "id": node_id}
        self.record = NodeRecord(id=node_id, name=node_id, labels=labels, capacity=Capacity(free=100))
        self.handlers: dict[str, Callable[[Any, bytes], Awaitable[bytes]]] = {}
        self.callbacks: list[Callable[[NodeRecord, bool], None]] = []
        self.serving: set[asyncio.Task[bytes]] = set()
        """The work for callers; it goes on after the caller is gone."""

    def live(self) -> list[NodeRecord]:
        return [m.record for i, m in self.net.nodes.items() if i == self.id or self.net.sees(self.id, i)]

    def is_live(self, node_id: str) -> bool:
        return node_id == self.id or self.net.sees(self.id, node_id)

    def is_removed(self, node_id: str) -> bool:
        return node_id in self.net.removed

    def serve(self, verb: str, handler: Callable[[Any, bytes], Awaitable[bytes]]) -> None:
        self.handlers[verb] = handler

    def on_change(self, callback: Callable[[NodeRecord, bool], None]) -> None:
        self.callbacks.append(callback)

    def tell(self, record: NodeRecord, alive: bool) -> None:
        for callback in self.callbacks:
            callback(record, alive)

    async def call(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes:
        self.net.calls += 1
        await asyncio.sleep(0)
        if not self.net.sees(self.id, node_id):
            raise Unreachable(f"{node_id} is not there")
        other = self.net.nodes[node_id]
        served = asyncio.create_task(other.serve_one(verb, Peer(self.id, self.id), body))
        other.serving.add(served)
        served.add_done_callback(other.serving.discard)
        await asyncio.wait({served})
        if served.cancelled() or self.net.nodes.get(node_id) is not other or self.net.random.random() < self.net.lose:
            raise Unreachable(f"{node_id} did not answer")
        return served.result()

    async def serve_one(self, verb: str, peer: Peer, body: bytes) -> bytes:
        """Answer one request."""
        return await self.handlers[verb](peer, body)


class MemoryBlobs:
    """Blobs in a dict, with the real registry; `data` is what an earlier run left on the disk."""

    def __init__(self, data: dict[str, bytes] | None = None) -> None:
        self.data: dict[str, bytes] = {} if data is None else data
        self.needs = Registry()
        self.deleter = Deleter(self)

    @property
    def pins(self) -> dict[str, set[str]]:
        """CIDs by owner."""
        return self.needs.pins._cids

    def has(self, cid: str) -> bool:
        return cid in self.data

    def check_size(self, cid: str, declared: int | None) -> None:
        if declared is not None and len(self.data[cid]) != declared:
            raise BlobError(f"{cid} has another size", code="blob.size")

    def pin(self, cid: str, owner: str) -> None:
        self.needs.pins.pin(cid, owner)

    def unpin(self, owner: str) -> None:
        self.needs.pins.unpin(owner)

    def release(self, cids: Iterable[str], *, after: asyncio.Future[Any] | None = None) -> asyncio.Task[None]:
        return self.deleter.release(cids, after=after)

    def retry(self) -> None:
        self.deleter.retry()

    async def read(self, cid: str) -> bytes:
        if cid not in self.data:
            raise BlobError(f"{cid} is not here")
        return self.data[cid]

    async def put(self, data: bytes) -> tuple[str, int]:
        cid = str(raw_cid(data))
        self.data[cid] = data
        return cid, len(data)

    async def delete(self, cid: str) -> None:
        if not self.needs.needed(cid):
            self.data.pop(cid, None)
