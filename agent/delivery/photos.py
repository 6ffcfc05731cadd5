"""Deletes the blobs of rows whose branch has ended, and photos whose time is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from agent.clock import boottime
from agent.delivery.context import BlobsLike
from agent.delivery.journal import Journal
from agent.errors import BlobError

log = logging.getLogger(__name__)


class Photos:
    """Deletes what nothing here needs any more; what cannot be deleted is tried again by `expire`."""

    def __init__(self, journal: Journal, blobs: BlobsLike) -> None:
        self._journal = journal
        self._blobs = blobs
        self._deleting: set[asyncio.Task[None]] = set()
        self._undeleted: set[str] = set()

    def release(self, cids: Iterable[str], written: asyncio.Future[Any]) -> None:
        """Delete those that nothing needs, once that is on the disk: a death before would take their row up again."""
        if gone := [cid for cid in cids if not self._journal.needs(cid)]:
            task = asyncio.create_task(self._delete(gone, written))
            self._deleting.add(task)
            task.add_done_callback(self._deleting.discard)

    async def _delete(self, cids: list[str], written: asyncio.Future[Any]) -> None:
        await asyncio.wait({written})
        if written.exception() is None:
            await asyncio.gather(*(self._delete_one(cid) for cid in cids if not self._journal.needs(cid)))

    async def _delete_one(self, cid: str) -> None:
        try:
            await self._blobs.delete(cid)
        except BlobError as e:
            if cid not in self._undeleted:
                log.warning("%s could not be deleted and is tried again: %s", cid, e.message)
            self._undeleted.add(cid)
        else:
            self._undeleted.discard(cid)

    def expire(self) -> None:
        """Delete photos that were kept for a match until now, and those that could not be deleted before."""
        if self._undeleted:
            self.release(self._undeleted, self._journal.commit())
        now = boottime()
        over = [cid for cid, until in self._journal.kept.items() if until <= now]
        if over:
            self.release(over, self._journal.forget_kept(over))
