"""A small pool of worker processes: started at the first need, ended after a rest."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

from agent import ticks
from agent.executors.contract import broken

logger = logging.getLogger(__name__)

WORKER_REST = 60.0
"""Seconds without work after which a worker is ended; the next starts in about 0.1 s, while the camera takes its photo."""


class PooledWorker(Protocol):
    """A worker process; it carries out one thing at a time."""

    spent: bool
    """Whether it must not be used again."""
    since: float
    """When it came back from its last work, in monotonic seconds."""

    @property
    def alive(self) -> bool:
        """Whether it still listens."""
        ...

    async def close(self) -> None:
        """Kill it, even in the middle of its work."""
        ...


W = TypeVar("W", bound=PooledWorker)


class Pool(Generic[W]):
    """At most `size` workers; each is lent to one call at a time and is not used again after it failed.

    A worker that is idle for `rest` seconds is ended: most days have few photos, and a worker takes 15 MB.
    """

    def __init__(self, start: Callable[[], Awaitable[W]], size: int, *, rest: float = math.inf) -> None:
        self._start = start
        self.size = size
        self._rest = rest
        self._free = asyncio.Semaphore(size)
        self._idle: list[W] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    async def warm(self) -> None:
        """Have one worker ready."""
        async with self.lend():
            pass

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[W]:
        """Lend a worker to the block; an exception in the block kills the worker."""
        async with self._free:
            if self._closed.is_set():
                raise broken("the agent is stopping", code="step.stopped")
            worker = await self._take()
            try:
                yield worker
            except BaseException:
                await self._end(worker)
                raise
            if self._closed.is_set() or worker.spent:
                await self._end(worker)
            else:
                self._put_back(worker)

    def _put_back(self, worker: W) -> None:
        worker.since = time.monotonic()
        self._idle.append(worker)
        if self._reaper is None and self._rest < math.inf:
            self._reaper = asyncio.create_task(self._reap(), name="workers at rest")

    async def _reap(self) -> None:
        """End the idle workers, the longest idle first: the pool lends the worker that came back last."""
        while self._idle:
            left = self._idle[0].since + self._rest - time.monotonic()
            if left <= 0:
                await self._end(self._idle.pop(0))
            elif await ticks.wait(self._closed, left):
                return
        self._reaper = None

    async def _take(self) -> W:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            logger.warning("a worker process died while idle; starting another")
            await self._end(worker)
        return await self._start()

    async def _end(self, worker: W) -> None:
        """Kill the worker, to its end even where the caller is cancelled again meanwhile."""
        ending = asyncio.create_task(worker.close(), name="end of a worker")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def close(self) -> None:
        """Kill the idle workers, and wait for those that are being killed; lent workers end when they come back."""
        self._closed.set()
        if self._reaper is not None:
            await self._reaper
        while self._idle:
            await self._end(self._idle.pop())
        await asyncio.gather(*self._ending)
