"""The durable spool: alerts wait here until the sink has them, and their ids are remembered after that.

One SQLite file, `spool.db`, 0600, WAL with synchronous=FULL: `add` returns when the alert would survive a power cut.
Calls block for a commit and come from threads.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Collection
from pathlib import Path

import msgspec

from agent.errors import Refused
from agent.uplink.files import private_database

logger = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024 * 1024
"""Most bytes of waiting alerts; at 100 KB each that is some 2,600 alerts."""
MAX_REMEMBERED = 100_000
"""Settled ids that are kept to answer a repeated submit without sending again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body BLOB, size INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS spool_waiting ON spool (state, attempts, seq);
"""


class Waiting(msgspec.Struct, frozen=True):
    """An alert to send next; `attempts` counts the tries that the sink itself failed."""

    seq: int
    id: str
    body: bytes
    attempts: int


class Settled(msgspec.Struct, frozen=True):
    """An alert that is done: `delivered`, or `refused` with the sink's reason."""

    id: str
    state: str
    reason: str


class Spool:
    """Alerts on their way, in the order of their submission. Raises EdgeError (`uplink.open`)."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, remember: int = MAX_REMEMBERED) -> None:
        self._db = private_database(path, _SCHEMA)
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._remember = remember
        self._unwritten: dict[str, Settled] = {}
        """Settled alerts that the disk would not take note of: not sent again while this agent runs."""
        self._failing = False

    def add(self, event_id: str, body: bytes) -> Settled | None:
        """Commit the alert; returns how it ended when it is already settled. Raises Refused when the spool is full."""
        with self._lock, self._db:
            if event_id in self._unwritten:
                return self._unwritten[event_id]
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
            self._write_settled()
            waiting = self._db.execute("SELECT seq, id FROM spool WHERE state = 'waiting' ORDER BY attempts, seq")
            seq = next((s for s, i in waiting if i not in besides and i not in self._unwritten), None)
            waiting.close()
            if seq is None:
                return None
            found = self._db.execute("SELECT seq, id, body, attempts FROM spool WHERE seq = ?", (seq,)).fetchone()
        return Waiting(*found)

    def failed(self, event_id: str, reason: str) -> None:
        """Count a try that the sink failed, where the disk lets it."""
        with self._lock:
            try:
                with self._db:
                    self._db.execute(
                        "UPDATE spool SET attempts = attempts + 1, reason = ? WHERE id = ?", (reason[:300], event_id)
                    )
            except sqlite3.Error as e:
                self._complain(e)

    def settle(self, event_id: str, state: str, reason: str = "") -> None:
        """Drop the alert's body and remember how it ended: in memory until the disk takes it."""
        with self._lock:
            self._unwritten[event_id] = Settled(event_id, state, reason[:300])
            self._write_settled()

    def _write_settled(self) -> None:
        for settled in list(self._unwritten.values()):
            try:
                with self._db:
                    self._db.execute(
                        "UPDATE spool SET state = ?, reason = ?, body = NULL, at = ? WHERE id = ?",
                        (settled.state, settled.reason, time.time(), settled.id),
                    )
                    self._db.execute(
                        "DELETE FROM spool WHERE state != 'waiting' AND seq <= (SELECT MAX(seq) FROM spool) - ?",
                        (self._remember,),
                    )
            except sqlite3.Error as e:
                self._complain(e)
                return
            del self._unwritten[settled.id]
            self._failing = False

    def _complain(self, error: sqlite3.Error) -> None:
        if not self._failing:
            logger.warning("the spool of the uplink cannot be written, and what is sent is kept in mind: %s", error)
        self._failing = True

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
        """How many wait, their bytes, and the age in seconds of the oldest (0 when none waits)."""
        with self._lock:
            count, size, oldest = self._db.execute(
                "SELECT COUNT(*), COALESCE(SUM(size), 0), MIN(at) FROM spool WHERE state = 'waiting'"
            ).fetchone()
        return count, size, max(0.0, time.time() - oldest) if oldest is not None else 0.0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
