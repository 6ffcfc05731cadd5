"""The egress ledger: one row for everything that left the building, in bytes on the wire.

The owner reads it with `edge-agent egress`. Bytes are TCP payload in both directions, TLS included, counted at the
socket (HTTPS) or at the MQTT client's socket calls; a request that failed half-way has its row too.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from agent.database import Schema, Unusable, move_aside, open_database, transaction
from agent.model.event import rfc3339
from agent.uplink.meter import Meter

logger = logging.getLogger(__name__)

MAX_ROWS = 1_000_000
"""Oldest rows are folded into one `folded` row above this many, so that the sums stay true and the file bounded."""
_FOLD = 10_000
MAX_WAITING = 10_000
"""Most rows that wait in memory while the disk cannot be written; above it, the older half is folded into one row."""
_Row = tuple[float, str, str, str, int, int, str]
_VERSION_1 = """
CREATE TABLE IF NOT EXISTS egress (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, event_id TEXT NOT NULL,
    sink TEXT NOT NULL, up INTEGER NOT NULL, down INTEGER NOT NULL, result TEXT NOT NULL)
"""
"""The first agents made the same table in files of version 0."""
LEDGER = Schema("egress ledger", (_VERSION_1,), code="uplink.open", newer_code="uplink.open")


class EgressRow(msgspec.Struct, frozen=True):
    """One exchange with the sink; `time` is this node's wall clock in RFC 3339, `kind` is hello, alert, status,
    close or folded.
    """

    seq: int
    time: str
    kind: str
    event_id: str
    sink: str
    up: int
    down: int
    result: str


class EgressLedger:
    """The ledger's file, `egress.db`, for calls from any thread. A damaged file is moved aside and an empty one made.

    Raises EdgeError (`uplink.open`) for a file that cannot be used for another reason.
    """

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS) -> None:
        self._db, self._sums = _opened(path)
        self._lock = threading.Lock()
        self._pending_lock = threading.Lock()
        self._pending: list[_Row] = []
        self._flushing = self._failing = False
        self._thread = ThreadPoolExecutor(1, "egress-ledger")
        self._added = 0
        self._max_rows = max_rows

    def book(self, meter: Meter, *, kind: str, event_id: str, sink: str, result: str) -> None:
        """Append a row with the bytes that `meter` has counted since it was last booked; no row where it has counted none."""
        up, down = meter.spent()
        if up or down:
            self.add(kind=kind, event_id=event_id, sink=sink, up=up, down=down, result=result)

    def add(self, *, kind: str, event_id: str, sink: str, up: int, down: int, result: str) -> None:
        """Append one row. It is committed soon, in a thread, and before anything is read."""
        with self._pending_lock:
            n, was_up, was_down = self._sums.get(kind, (0, 0, 0))
            self._sums[kind] = (n + 1, was_up + up, was_down + down)
            self._pending.append((time.time(), kind, event_id, sink, up, down, result[:300]))
            if self._flushing:
                return
            self._flushing = True
        self._thread.submit(self._flush)

    def rows(self, since: float = 0.0, *, limit: int = 10_000) -> list[EgressRow]:
        """Rows from the wall-clock time `since` (seconds since 1970) on, oldest first; the newest `limit` of them."""
        return self._selected("SELECT * FROM egress WHERE at >= ? ORDER BY seq DESC LIMIT ?", since, limit)[::-1]

    def totals(self, since: float = 0.0) -> dict[str, dict[str, int]]:
        """`{kind: {requests, up, down}}` since then, and the sums under `all`. Without `since` it reads nothing."""
        if since > 0:
            self._flush()
            with self._lock:
                sums = _summed(self._db, since)
        else:
            with self._pending_lock:
                sums = dict(self._sums)
        totals = {kind: {"requests": n, "up": up, "down": down} for kind, (n, up, down) in sums.items()}
        totals["all"] = {key: sum(t[key] for t in totals.values()) for key in ("requests", "up", "down")}
        return totals

    def of_event(self, event_id: str) -> list[EgressRow]:
        """The rows of one alert, oldest first: more than one when it needed more than one try."""
        return self._selected("SELECT * FROM egress WHERE event_id = ? ORDER BY seq", event_id)

    def close(self) -> None:
        """Write the pending rows and close the file."""
        self._flush()
        self._thread.shutdown()
        with self._lock:
            self._db.close()

    def _selected(self, query: str, *values: float | str) -> list[EgressRow]:
        self._flush()
        with self._lock:
            found = self._db.execute(query, values).fetchall()
        return [EgressRow(seq, rfc3339(at), *rest) for seq, at, *rest in found]

    def _flush(self) -> None:
        """Write the pending rows, in order; they stay pending when they cannot be written."""
        with self._lock:
            with self._pending_lock:
                rows, self._pending, self._flushing = self._pending, [], False
            if not rows:
                return
            try:
                self._write(rows)
            except sqlite3.Error as e:
                with self._pending_lock:
                    self._pending = _folded(rows + self._pending)
                if not self._failing:
                    logger.warning("the egress ledger cannot be written; its rows wait in memory: %s", e)
                self._failing = True
            else:
                self._failing = False

    def _write(self, rows: list[_Row]) -> None:
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO egress (at, kind, event_id, sink, up, down, result) VALUES (?,?,?,?,?,?,?)", rows
            )
            self._added += len(rows)
            if self._added >= 1000:
                self._added = 0
                self._fold()

    def _fold(self) -> None:
        (count,) = self._db.execute("SELECT COUNT(*) FROM egress").fetchone()
        if count <= self._max_rows:
            return
        bound, at, up, down = self._db.execute(
            "SELECT MAX(seq), MAX(at), SUM(up), SUM(down) FROM (SELECT * FROM egress ORDER BY seq LIMIT ?)", (_FOLD,)
        ).fetchone()
        self._db.execute("DELETE FROM egress WHERE seq <= ?", (bound,))
        self._db.execute("INSERT INTO egress VALUES (?,?,'folded','','',?,?,'older rows')", (bound, at, up, down))


def _folded(rows: list[_Row]) -> list[_Row]:
    if len(rows) <= MAX_WAITING:
        return rows
    old, kept = rows[: -MAX_WAITING // 2], rows[-MAX_WAITING // 2 :]
    at, up, down = max(r[0] for r in old), sum(r[4] for r in old), sum(r[5] for r in old)
    return [(at, "folded", "", "", up, down, "older rows"), *kept]


def _opened(path: Path) -> tuple[sqlite3.Connection, dict[str, tuple[int, int, int]]]:
    """The file and the sums of all that is in it."""
    try:
        return _read(path)
    except Unusable as e:
        if not e.damaged:
            raise
        logger.warning(
            "starting a new egress ledger; the damaged one is %s: %s", move_aside(path, LEDGER).name, e.message
        )
    return _read(path)


def _read(path: Path) -> tuple[sqlite3.Connection, dict[str, tuple[int, int, int]]]:
    db = open_database(path, LEDGER)
    try:
        return db, _summed(db, 0.0)
    except sqlite3.Error as e:
        db.close()
        raise Unusable(LEDGER, path, e) from e


def _summed(db: sqlite3.Connection, since: float) -> dict[str, tuple[int, int, int]]:
    found = db.execute(
        "SELECT kind, COUNT(*), SUM(up), SUM(down) FROM egress WHERE at >= ? GROUP BY kind", (since,)
    ).fetchall()
    return {kind: (n, up, down) for kind, n, up, down in found}
