"""A log file as a source of lines: the follower in a thread, woken by the kernel."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from agent import ticks
from agent.backoff import Backoff, doubling
from agent.errors import in_words
from agent.memory import give_back
from agent.sources.batch import Batch, Counters, Position, SenderCount
from agent.sources.follower import Follower
from agent.sources.inotify import Inotify
from agent.sources.mark import load_mark
from agent.threads import in_thread

logger = logging.getLogger(__name__)

T = TypeVar("T")

ABSENT = 10.0
"""Seconds without the file after which it is missing: a rotation leaves none for a moment."""
OBSERVE = 1.0
"""Seconds between looks at the file's size while the reader does not read on."""
UNREADABLE = Backoff(doubling(0.5, 30.0))
"""The pauses before a file that cannot be read is tried again."""
PACE = 0.005
"""Shortest time in seconds between two checks of a file that changes all the time."""
POLL_FIRST, POLL_LAST = 0.02, 0.2
"""Seconds between two checks where the kernel does not report changes: just after a change, and at rest."""
BEHIND = 5.0
"""Seconds since the file was at its end from which its lines are a backlog: more than POLL_WATCHED."""
POLL_WATCHED = 4.0
"""Seconds between two checks where the kernel reports changes, for those that it misses."""


class FileSource:
    """Lines of one log file, through rotation, copy-truncate, deletion and re-creation."""

    def __init__(self, path: Path, *, from_start: bool = False, watch: bool = True) -> None:
        """Without a position reading begins at the end of the file, or at its start with `from_start`."""
        self.name = str(path)
        self.counters = Counters()
        self.problem = ""
        self._path = path
        self._from_start = from_start
        self._watch = watch
        self._absent_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tail")

    def senders(self) -> list[SenderCount]:
        """See LineSource."""
        return []

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Batches from `position` on; without one, the first batch is empty and has the position of the start.

        Raises ConfigError where the path is not a log file.
        """
        mark = load_mark(position)
        follower: Follower | None = None
        inotify = self._inotify()
        opened = time.monotonic()
        try:
            follower = await self._patiently(
                lambda: Follower(self._path, mark, from_start=self._from_start, counters=self.counters)
            )
            caught_up = -math.inf
            """When the file was at its end last, in monotonic seconds: unread lines are younger."""
            if position is None:
                caught_up = -math.inf if self._from_start else opened
                yield Batch("", 0, b"", follower.position)
            wait, large = POLL_FIRST, False
            while True:
                if inotify is not None:
                    inotify.changed.clear()
                    if not inotify.watch(self._watched(follower), str(self._path.parent)):
                        logger.info("polling %s: the kernel cannot watch it", self._path)
                        inotify.close()
                        inotify = None
                begun = time.monotonic()
                while (batch := await self._patiently(follower.read)) is not None:
                    batch.max_age = time.monotonic() - caught_up
                    if batch.max_age > BEHIND:
                        batch.anchor = await self._patiently(follower.newest)
                    with self._observed(follower):
                        yield batch
                    begun = time.monotonic()
                    large = follower.grow(len(batch.data), dense=batch.dense) or batch.dense or large
                    del batch  # before the next batch is read
                    wait = POLL_FIRST
                caught_up = begun
                self._note(follower)
                if large:
                    await in_thread(give_back, self._thread)
                    large = False
                if inotify is None:
                    await asyncio.sleep(wait)
                    wait = min(POLL_LAST, wait * 1.5)
                else:
                    told = await ticks.wait(inotify.changed, ticks.until(POLL_WATCHED))
                    pause = begun + PACE - time.monotonic()
                    if told and pause > 0:
                        await asyncio.sleep(pause)
        finally:
            if follower is not None:
                await in_thread(follower.close, self._thread)
            if inotify is not None:
                inotify.close()

    def _note(self, follower: Follower) -> None:
        """Whether the log is missing: not there for longer than a rotation takes."""
        if not follower.absent:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = time.monotonic()
        missing = self._absent_since is not None and time.monotonic() - self._absent_since >= ABSENT
        if missing and not self.counters.missing:
            logger.warning("%s is not there; it is read as soon as it appears", self._path)
        self.counters.missing = missing

    @contextmanager
    def _observed(self, follower: Follower) -> Iterator[None]:
        """While the reader has a batch for long, look at the file's size from time to time."""
        self._look_later(follower)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _look_later(self, follower: Follower) -> None:
        def look() -> None:
            self._thread.submit(follower.observe)
            self._look_later(follower)

        self._timer = asyncio.get_running_loop().call_later(OBSERVE, look)

    def _watched(self, follower: Follower) -> list[str]:
        # The name and the open file may be two files while one takes the other's place.
        return [str(self._path), f"/proc/self/fd/{follower.descriptor}"]

    def _inotify(self) -> Inotify | None:
        if not self._watch:
            return None
        try:
            return Inotify()
        except OSError as error:
            logger.info("%s is polled: %s", self._path, error)
            return None

    async def _patiently(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread, and retry it while the file cannot be read."""
        failures = 0
        while True:
            try:
                result = await in_thread(work, self._thread)
            except OSError as error:
                if not self.problem:
                    logger.warning("%s cannot be read: %s", self._path, in_words(error))
                self.problem = in_words(error)
                failures += 1
                await asyncio.sleep(UNREADABLE.after(failures))
            else:
                self.problem = ""
                return result
