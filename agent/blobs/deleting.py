"""Deletes blobs that are no longer needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from agent.errors import BlobError

logger = logging.getLogger(__name__)


class Deletes(Protocol):
    """The store as it is used here; `delete` spares blobs that are needed, and raises BlobError."""

    async def delete(self, cid: str) -> None: ...


class Deleter:
    """Deletes blobs in the background. A blob that cannot be deleted is logged once and tried again by `retry`."""

    def __init__(self, store: Deletes) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self._left: set[str] = set()

    def release(self, cids: Iterable[str], *, after: asyncio.Future[Any] | None = None) -> asyncio.Task[None]:
        """Delete those that nothing needs, once `after` is done without an error; the task ends when all were tried."""
        task = asyncio.create_task(self._release(list(cids), after))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def retry(self) -> None:
        """Try those again that could not be deleted."""
        if self._left:
            self.release(self._left)

    async def _release(self, cids: list[str], after: asyncio.Future[Any] | None) -> None:
        if after is not None:
            await asyncio.wait({after})
            if after.cancelled() or after.exception() is not None:
                return
        await asyncio.gather(*(self._delete(cid) for cid in cids))

    async def _delete(self, cid: str) -> None:
        try:
            await self._store.delete(cid)
        except BlobError as e:
            if cid not in self._left:
                logger.warning("%s could not be deleted; trying again later: %s", cid, e.message)
            self._left.add(cid)
        else:
            self._left.discard(cid)
