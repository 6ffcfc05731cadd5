"""The journal's file without the writer's thread: group commits in virtual time, and a power cut at any of them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from agent.database import Storage, Write
from agent.delivery.journal import JOURNAL


@dataclass
class Disk:
    """The things that survive a node's death: the file, the count of its commits, and the plan of its next death."""

    path: Path
    random: Random = field(default_factory=Random)
    slowest: float = 0.0
    """Longest time in seconds that a commit takes."""
    largest: int = 1
    """Most writes in one transaction."""
    commits: int = 0
    """Commits since the file was made."""
    die_at: int = 0
    """The number of the commit at which the node dies; 0: none."""
    die_before: bool = True
    """Whether that commit is lost with it."""
    on_death: Callable[[], None] = lambda: None
    on_commit: Callable[[sqlite3.Connection, bool], None] = lambda db, idle: None
    """Called after each commit with the connection, and whether nothing more waits to be written."""


class SimulatedStorage(Storage):
    """The real file, schema and functions; only the thread is replaced by timers of the loop."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.path, JOURNAL)
        self.disk = disk
        self.dead = False
        self._pending: deque[tuple[Write, asyncio.Future[Any]]] = deque()
        self._busy: asyncio.TimerHandle | None = None
        self._db: sqlite3.Connection | None = None

    def start(self) -> None:
        """Open the file; there is no thread."""
        self._loop = asyncio.get_running_loop()
        self._db = self.open()

    def write(self, fn: Write) -> asyncio.Future[Any]:
        """As the real one; a dead node's futures never resolve."""
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self.dead:
            self._pending.append((fn, future))
            self._wake()
        return future

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._pending

    def _wake(self) -> None:
        if self._busy is None and self._pending:
            assert self._loop is not None
            self._busy = self._loop.call_later(self.disk.random.uniform(0.0, self.disk.slowest), self._flush)

    def _flush(self) -> None:
        self._busy = None
        if self.dead:
            return
        assert self._db is not None
        disk = self.disk
        dies = disk.commits + 1 == disk.die_at
        if dies:
            disk.die_at = 0
        if dies and disk.die_before:
            disk.on_death()
            return
        size = min(len(self._pending), disk.random.randint(1, disk.largest))
        group = [self._pending.popleft() for _ in range(size)]
        if dies:
            self.dead = True  # the commit is on the disk, and nobody hears of it
        self._commit(self._db, group)
        disk.commits += 1
        disk.on_commit(self._db, self.idle)
        if dies:
            disk.on_death()
        else:
            self._wake()

    def _tell(self, fn: Callable[..., Any], *args: Any) -> None:
        if not self.dead:
            assert self._loop is not None
            self._loop.call_soon(fn, *args)

    def die(self) -> None:
        """Lose what was not committed; nothing is answered any more."""
        self.dead = True
        self._pending.clear()
        if self._busy is not None:
            self._busy.cancel()
            self._busy = None
        self._close()

    def stop(self) -> None:
        """Write what was handed in and close."""
        if self._busy is not None:
            self._busy.cancel()
            self._busy = None
        while self._pending and not self.dead and self._db is not None:
            self._commit(self._db, [self._pending.popleft()])
            self.disk.commits += 1
        self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        super().stop()  # closes the reader; there is no thread to wait for
