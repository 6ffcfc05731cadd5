"""One blob of many leaves on its way here: first its tree, checked against the CID, then ranges of verified leaves."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

from agent.blobs.faults import not_there, wrong_size
from agent.blobs.incoming import Incoming, WrongBytes
from agent.blobs.store import MAX_BLOB, BlobStore
from agent.blobs.wire import GET, MAX_SPAN, TREE, Ask, Get, Tree, decode, encode
from agent.errors import EdgeError, Refused
from agent.model.unixfs import CHUNK, DIGEST, leaf_count, root_cid
from agent.threads import finished

CALL_TIMEOUT = 15.0
"""Seconds that one request may take before its holder counts as unreachable."""
IN_FLIGHT = 4
"""Requests under way at once to one holder."""
FAST, SLOW = 0.1, 1.0
"""Replies within FAST seconds double the span of the next request, replies later than SLOW seconds halve it."""
MAX_TREE = leaf_count(MAX_BLOB) * DIGEST + 64


class Caller(Protocol):
    """Mesh.call: a signed request to one node; raises Unreachable or the EdgeError of the other side."""

    async def __call__(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes: ...


class Transfer:
    """One fetch; the next holder continues where one stopped. `incoming` holds the verified leaves; `size` is the declared
    size in bytes, if there is one.
    """

    def __init__(self, cid: str, size: int | None, store: BlobStore, call: Caller, parked: Incoming | None) -> None:
        self._cid = cid
        self._size = size
        self._store = store
        self._call = call
        self._span = 1
        self.incoming = parked

    async def from_holder(self, holder: str, owner: str | None) -> None:
        """Fetch the missing leaves from this holder and commit the blob; raises EdgeError, keeping `incoming`."""
        tree = self.incoming or await self._tree(holder)
        if self._size is not None and self._size != tree.size:
            raise wrong_size(self._cid, tree.size, self._size)
        if self.incoming is None:
            self.incoming = await self._store.begin(self._cid, tree.size)
            self.incoming.leaves = tree.leaves
        incoming = self.incoming
        wanted = deque(incoming.missing())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(self._work(holder, incoming, wanted))
        except ExceptionGroup as failed:
            errors = [e for e in failed.exceptions if isinstance(e, EdgeError)]
            if len(errors) < len(failed.exceptions):
                raise
            raise errors[0] from None
        await self._store.commit(incoming, owner=owner)

    async def _tree(self, holder: str) -> Tree:
        reply = await self._call(holder, TREE, encode(Ask(self._cid)), timeout=CALL_TIMEOUT)
        if not reply:
            raise not_there(self._cid)
        try:
            tree = decode(reply, Tree, MAX_TREE)
            if not CHUNK < tree.size <= MAX_BLOB:
                raise WrongBytes(f"a tree for {tree.size} bytes")
            if await asyncio.to_thread(root_cid, tree.leaves, tree.size) != self._cid:
                raise WrongBytes("the tree does not match the CID")
        except (Refused, ValueError) as error:
            raise WrongBytes(f"a malformed tree: {error}") from error
        return tree

    async def _work(self, holder: str, incoming: Incoming, wanted: deque[int]) -> None:
        while wanted:
            first = wanted.popleft()
            count = 1
            while count < self._span and wanted and wanted[0] == first + count:
                wanted.popleft()
                count += 1
            offset = first * CHUNK
            length = min(count * CHUNK, incoming.size - offset)
            begun = time.monotonic()
            data = await self._call(holder, GET, encode(Get(self._cid, offset, length)), timeout=CALL_TIMEOUT)
            self._adapt(time.monotonic() - begun)
            if not data:
                raise not_there(self._cid)
            if len(data) != length:
                raise WrongBytes(f"{len(data)} bytes where {length} were asked")
            # Verified leaves are kept even when another request to the holder fails meanwhile.
            await finished(self._store.verify_into(incoming, first, data))

    def _adapt(self, seconds: float) -> None:
        if seconds < FAST:
            self._span = min(MAX_SPAN, self._span * 2)
        elif seconds > SLOW:
            self._span = max(1, self._span // 2)
