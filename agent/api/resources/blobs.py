"""Blobs of this node, and of others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.api import results
from agent.blobs import BlobExchange, BlobStore, ByHand
from agent.errors import NotFound
from agent.mesh import Mesh
from agent.model.cid import parse_cid


class Blobs:
    """The blobs of this node's store, and those that other nodes hold."""

    def __init__(self, store: BlobStore, exchange: BlobExchange, mesh: Mesh, by_hand: ByHand) -> None:
        self._store, self._exchange, self._mesh, self._by_hand = store, exchange, mesh, by_hand

    async def add(self, fd: int, size: int) -> results.StoredBlob:
        """Store the bytes of an open file, and keep them; raises BlobError."""
        cid, stored = await self._by_hand.add(self._store, fd, max(size, 1))
        return results.StoredBlob(cid, stored)

    async def path(self, cid: str) -> Path:
        """The blob's verified file, fetched from other nodes where it is not here; raises NotFound, BlobError."""
        parse_cid(cid)
        if not self._store.has(cid):
            others = [n.id for n in self._mesh.live() if n.id != self._mesh.me.id]
            holders = list(await self._exchange.have(cid, others))
            if not holders:
                raise NotFound(f"no live node has {cid} for this node", hint="only operators may fetch any blob")
            await self._exchange.fetch(cid, holders, timeout=300.0)
        return self._store.path(cid)

    async def all(self) -> results.BlobList:
        """The blobs that are stored here."""
        usage = await asyncio.to_thread(self._store.usage)
        contents = await asyncio.to_thread(self._store.contents)
        blobs = [results.ListedBlob(cid, size, self._store.pinned(cid)) for cid, size in contents.items()]
        return results.BlobList(usage.count, usage.bytes, usage.quota, blobs)
