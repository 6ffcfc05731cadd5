"""The durable spool: alerts wait here until the sink has them, and their ids are remembered after that.

One SQLite file, `spool.db`: when `add` returns, the alert survives a power cut. Calls wait for a commit and come from threads.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from agent.database import Schema, open_database, transaction
from agent.errors import Refused

logger = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024 * 1024
"""Most bytes of waiting alerts; at 100 KB each that is some 2,600 alerts."""
MAX_REMEMBERED = 100_000
"""Settled ids that are kept to answer a repeated submit without sending again."""

_VERSION_1 = """
CREATE TABLE IF NOT EXISTS spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body BLOB, size INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS spool_waiting ON spool (state, attempts, seq);
"""
"""The first agents made the same tables in files of version 0."""
SPOOL = Schema("spool", (_VERSION_1,), code="uplink.open", newer_code="uplink.open")


class Waiting(msgspec.Struct, frozen=True):
    """An alert to send next; `attempts` counts the tries that the sink itself failed."""

    seq: int
    id: str
    body: bytes
    attempts: int


class Settled(msgspec.Struct, frozen=True):
    """An alert that has ended: `delivered`, or `refused` with the sink's reason."""

    id: str
    state: str
    reason: str


class Spool:
    """Alerts on their way, in the order of their submission. Raises EdgeError (`uplink.open`)."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, remember: int = MAX_REMEMBERED) -> None:
        self._db = open_database(path, SPOOL)
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._remember = remember
        self._unwritten: dict[str, Settled] = {}
        self._tries: dict[str, tuple[int, str]] = {}
        """Ends and failed tries that are not on the disk yet, so that a settled alert is not sent again."""
        self._failing = False

    def add(self, event_id: str, body: bytes) -> Settled | None:
        """Commit the alert; returns how it ended when it is already settled. Raises Refused when the spool is full."""
        with self._lock:
            self._catch_up()
            if event_id in self._unwritten:
                return self._unwritten[event_id]
            return self._added(event_id, body)

    def _added(self, event_id: str, body: bytes) -> Settled | None:
        with transaction(self._db):
            row = self._db.execute("SELECT state, reason FROM spool WHERE id = ?", (event_id,)).fetchone()
            if row is not None:
                return None if row[0] == "waiting" else Settled(event_id, row[0], row[1])
            (used,) = self._db.execute("SELECT COALESCE(SUM(size), 0) FROM spool WHERE state = 'waiting'").fetchone()
            if used + len(body) > self._max_bytes:
                raise Refused(
                    f"the spool of the uplink is full ({used >> 20} MiB wait for the sink)",
                    code="uplink.full",
                    hint="bring the sink back, or see `edge-agent sink status`",
                )
            self._db.execute(
                "INSERT INTO spool (id, body, size, state, at) VALUES (?, ?, ?, 'waiting', ?)",
                (event_id, body, len(body), time.time()),
            )
            return None

    def next(self, besides: Collection[str] = ()) -> Waiting | None:
        """The alert to send next, besides those on their way: the oldest, but behind others after each try that the
        sink failed on it.
        """
        with self._lock:
            self._catch_up()
            waiting = self._db.execute(
                "SELECT attempts, seq, id FROM spool WHERE state = 'waiting' ORDER BY attempts, seq"
            )
            rest = (row for row in waiting if row[2] not in besides and row[2] not in self._unwritten)
            if self._tries:
                first = min(((n + self._tried(i), seq, i) for n, seq, i in rest), default=None)
            else:
                first = next(rest, None)
            waiting.close()
            if first is None:
                return None
            attempts, seq, ident = first
            (body,) = self._db.execute("SELECT body FROM spool WHERE seq = ?", (seq,)).fetchone()
        return Waiting(seq, ident, body, attempts)

    def failed(self, event_id: str, reason: str) -> None:
        """Count a try that the sink failed."""
        with self._lock:
            self._tries[event_id] = (self._tried(event_id) + 1, reason[:300])
            self._catch_up()

    def _tried(self, event_id: str) -> int:
        return self._tries.get(event_id, (0, ""))[0]

    def settle(self, event_id: str, state: str, reason: str = "") -> None:
        """Drop the alert's body and remember how it ended."""
        with self._lock:
            self._unwritten[event_id] = Settled(event_id, state, reason[:300])
            self._catch_up()

    def _catch_up(self) -> None:
        """Write the ends and tries that wait in memory; they stay there when the disk takes nothing."""
        if not self._unwritten and not self._tries:
            return
        settled = [(s.state, s.reason, time.time(), s.id) for s in self._unwritten.values()]
        tries = [(n, reason, i) for i, (n, reason) in self._tries.items()]
        try:
            with transaction(self._db):
                self._db.executemany(
                    "UPDATE spool SET attempts = attempts + ?, reason = ? WHERE id = ? AND state = 'waiting'", tries
                )
                self._db.executemany(
                    "UPDATE spool SET state = ?, reason = ?, body = NULL, at = ? WHERE id = ?", settled
                )
                self._db.execute(
                    "DELETE FROM spool WHERE state != 'waiting' AND seq <= (SELECT MAX(seq) FROM spool) - ?",
                    (self._remember,),
                )
        except sqlite3.Error as e:
            if not self._failing:
                logger.warning(
                    "the spool of the uplink cannot be written; the ids that were sent are kept in memory: %s", e
                )
            self._failing = True
        else:
            self._unwritten, self._tries, self._failing = {}, {}, False

    def settled(self, limit: int = 1000) -> list[Settled]:
        """The newest settled alerts, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, state, reason FROM (SELECT * FROM spool WHERE state != 'waiting' ORDER BY seq DESC LIMIT ?)"
                " ORDER BY seq",
                (limit,),
            ).fetchall()
        return [Settled(*row) for row in rows]

    def usage(self) -> tuple[int, int, float]:
        """The number of waiting alerts, their bytes, and the age in seconds of the oldest (0 when none waits)."""
        with self._lock:
            count, size, oldest = self._db.execute(
                "SELECT COUNT(*), COALESCE(SUM(size), 0), MIN(at) FROM spool WHERE state = 'waiting'"
            ).fetchone()
        return count, size, max(0.0, time.time() - oldest) if oldest is not None else 0.0

    def close(self) -> None:
        """Write the ends and tries that wait in memory, and close the file."""
        with self._lock:
            self._catch_up()
            self._db.close()
