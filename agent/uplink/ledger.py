"""The egress ledger: one row for everything that left the building, in bytes on the wire.

The owner reads it with `edge-agent egress`. Bytes are TCP payload in both directions, TLS included, counted at the
socket (HTTPS) or at the MQTT client's socket calls; a request that failed half-way has its row too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.uplink.files import private_database

MAX_ROWS = 1_000_000
"""Oldest rows are folded into one `folded` row above this many, so that the sums stay true and the file bounded."""
_FOLD = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS egress (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, event_id TEXT NOT NULL,
    sink TEXT NOT NULL, up INTEGER NOT NULL, down INTEGER NOT NULL, result TEXT NOT NULL)
"""


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
    """The ledger's file, `egress.db`, 0600. Calls from any thread."""

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS) -> None:
        self._db = private_database(path)
        self._lock = threading.Lock()
        self._max_rows = max_rows
        self._db.execute(_SCHEMA)

    async def add(self, *, kind: str, event_id: str, sink: str, up: int, down: int, result: str) -> None:
        """Append one row; committed when it returns."""
        await asyncio.to_thread(self._add, kind, event_id, sink, up, down, result)

    def rows(self, since: float = 0.0, *, limit: int = 10_000) -> list[EgressRow]:
        """Rows from the wall-clock time `since` (seconds since 1970) on, oldest first; the newest `limit` of them."""
        with self._lock:
            found = self._db.execute(
                "SELECT * FROM (SELECT seq, at, kind, event_id, sink, up, down, result FROM egress WHERE at >= ?"
                " ORDER BY seq DESC LIMIT ?) ORDER BY seq",
                (since, limit),
            ).fetchall()
        return [EgressRow(seq, _iso(at), *rest) for seq, at, *rest in found]

    def totals(self, since: float = 0.0) -> dict[str, dict[str, int]]:
        """`{kind: {requests, up, down}}` since then, and the sums under `all`."""
        with self._lock:
            found = self._db.execute(
                "SELECT kind, COUNT(*), SUM(up), SUM(down) FROM egress WHERE at >= ? GROUP BY kind", (since,)
            ).fetchall()
        totals = {kind: {"requests": n, "up": up, "down": down} for kind, n, up, down in found}
        totals["all"] = {key: sum(t[key] for t in totals.values()) for key in ("requests", "up", "down")}
        return totals

    def of_event(self, event_id: str) -> list[EgressRow]:
        """The rows of one alert, oldest first: more than one when it needed more than one try."""
        with self._lock:
            found = self._db.execute(
                "SELECT seq, at, kind, event_id, sink, up, down, result FROM egress WHERE event_id = ? ORDER BY seq",
                (event_id,),
            ).fetchall()
        return [EgressRow(seq, _iso(at), *rest) for seq, at, *rest in found]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _add(self, kind: str, event_id: str, sink: str, up: int, down: int, result: str) -> None:
        with self._lock, self._db:
            seq = self._db.execute(
                "INSERT INTO egress (at, kind, event_id, sink, up, down, result) VALUES (?,?,?,?,?,?,?)",
                (time.time(), kind, event_id, sink, up, down, result[:300]),
            ).lastrowid
            if seq is not None and seq % 1000 == 0:
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


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
