"""The blobs that a person added by hand (`edge-agent blob add`): each CID is a line of a file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agent.blobs.registry import GivesWay
from agent.blobs.store import BlobStore


class ByHand:
    """A need of the registry. It gives way: no command removes a blob, and a store full of them must still take photos."""

    gives_way: GivesWay = "last"

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cids: set[str] = set()

    async def load(self) -> None:
        """Read the file, if there is one; raises OSError, and UnicodeError where it is damaged: its other lines count then."""
        raw = await asyncio.to_thread(_read, self._file)
        self._cids |= set(raw.decode(errors="replace").split())
        raw.decode()

    async def add(self, store: BlobStore, fd: int, limit: int) -> tuple[str, int]:
        """Store an open file and remember it, durably; returns (cid, size). Raises BlobError, OSError."""
        owner = f"by hand:{fd}"
        try:
            cid, size = await store.put_fd(fd, limit=limit, owner=owner)
            await self.note(cid)
        finally:
            store.unpin(owner)
        return cid, size

    async def note(self, cid: str) -> None:
        """Remember a blob; it is on the disk when this returns. Raises OSError."""
        if cid not in self._cids:
            await asyncio.to_thread(self._append, cid)
            self._cids.add(cid)

    def needs(self, cid: str) -> bool:
        """Whether the blob was added by hand."""
        return cid in self._cids

    def may_read(self, node_id: str, cid: str) -> bool:
        """Only operators read blobs that were added by hand, and they read every blob."""
        return False

    def _append(self, cid: str) -> None:
        file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, f"\n{cid}\n".encode())  # a line before it may be torn
            os.fsync(file)
        finally:
            os.close(file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
