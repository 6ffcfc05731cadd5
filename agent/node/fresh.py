"""A program's output blobs are pinned until the event that names them is journalled.

Otherwise the end of another event could delete the same bytes in that moment (a camera in front of a still scene), and the quota
could evict them. A blob that nothing needs afterwards, because the program failed or its event was dropped, is deleted.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from agent.blobs import BlobStore

HOLD = 5.0
"""Seconds that a blob waits for its event; a commit follows a program's files within milliseconds."""
LOOK = 0.1


class Names(Protocol):
    """The journal as it is used here."""

    def mark(self) -> int: ...
    def named_since(self, cid: str, mark: int) -> bool: ...


class Held(msgspec.Struct):
    """A blob that was made at `at` (the loop's clock), when the journal was at `mark`."""

    owner: str
    cid: str
    at: float
    mark: int


class FreshBlobs:
    """A BlobWriter over the store."""

    def __init__(self, store: BlobStore, journal: Names) -> None:
        self._store = store
        self._journal = journal
        self._held: list[Held] = []
        self._some = asyncio.Event()
        self._made = 0

    async def put(self, data: bytes) -> tuple[str, int]:
        """See BlobWriter."""
        owner = self._owner()
        return self._hold(owner, await self._store.put(data, owner=owner))

    async def put_fd(self, fd: int, *, limit: int) -> tuple[str, int]:
        """See BlobWriter."""
        owner = self._owner()
        return self._hold(owner, await self._store.put_fd(fd, limit=limit, owner=owner))

    async def run(self) -> None:
        """Let go of blobs that an event names by now, and of blobs that waited too long, until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(LOOK)
            await self.let_go(asyncio.get_running_loop().time() - HOLD)

    async def let_go(self, before: float) -> None:
        """Let go of blobs that an event names, and of all that were made before this time of the loop's clock."""
        over = [h for h in self._held if h.at <= before or self._journal.named_since(h.cid, h.mark)]
        self._held = [h for h in self._held if h not in over]
        if not self._held:
            self._some.clear()
        for held in over:
            self._store.unpin(held.owner)
        if over:
            await self._store.release({held.cid for held in over})

    def _owner(self) -> str:
        self._made += 1
        return f"fresh:{self._made}"

    def _hold(self, owner: str, made: tuple[str, int]) -> tuple[str, int]:
        self._held.append(Held(owner, made[0], asyncio.get_running_loop().time(), self._journal.mark()))
        self._some.set()
        return made
