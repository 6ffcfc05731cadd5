"""Blobs that nothing names: an agent that died between a blob and its event's commit leaves one behind, perhaps a photo.

At the start every blob goes that no event needs, that is no module, and that nobody added by hand.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from agent.blobs import BlobStore
from agent.errors import BlobError

log = logging.getLogger(__name__)

MODULE = b"\0asm"
"""How a WebAssembly module begins; other nodes fetch modules from whoever has them."""


class Added:
    """The CIDs that were added by hand (`edge-agent add`): one a line in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def all(self) -> set[str]:
        """Every CID that was ever added here."""
        try:
            return set(self._file.read_text().split())
        except FileNotFoundError:
            return set()

    async def note(self, cid: str) -> None:
        """Remember one; it is on the disk when this returns."""
        await asyncio.to_thread(self._append, cid)

    def _append(self, cid: str) -> None:
        file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, f"{cid}\n".encode())
            os.fsync(file)
        finally:
            os.close(file)


async def sweep(store: BlobStore, added: Added, needs: Callable[[str], bool]) -> int:
    """Delete what nothing needs; returns how many blobs that were. For the start, before anything makes new ones.

    What cannot be read or deleted stays, with a warning.
    """
    try:
        by_hand = await asyncio.to_thread(added.all)
        here = await asyncio.to_thread(store.contents)
    except (OSError, UnicodeError) as e:
        log.warning("no blob of an earlier life is deleted, as what is here or was added by hand cannot be read: %s", e)
        return 0
    gone = 0
    for cid in here:
        if needs(cid) or cid in by_hand or store.pinned(cid):
            continue
        try:
            if await store.read_at(cid, 0, len(MODULE)) == MODULE:
                continue
            await store.delete(cid)
        except (BlobError, OSError) as e:
            log.warning("blob %s of an earlier life stays: %s", cid, e)
        else:
            gone += 1
    if gone:
        log.info("deleted %d blobs of an earlier life that nothing names", gone)
    return gone
