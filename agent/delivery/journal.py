"""The journal: rows that this node has accepted and not yet settled, on disk first, in memory for speed.

Every change is made in memory and handed to the writer at once, so the order in the file is the order in memory;
a caller that must not answer before it is on the disk awaits the returned future. Counters of accepted rows and of ends are kept
beside the rows in the same transactions and outlive them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from agent.clock import boot_id, boottime, shift_after_reboot
from agent.database import Schema, Storage, Unusable, transaction
from agent.delivery.changes import Changes
from agent.delivery.rows import Row, State
from agent.delivery.table import KEEP_ROWS, Table
from agent.delivery.writable_row import new_row
from agent.model.alert import Hop
from agent.model.decoding import DAMAGED
from agent.model.event import check_depth, decode_event

log = logging.getLogger(__name__)

STAMP_EVERY = 30.0
_VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE event (id TEXT PRIMARY KEY, root TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE row (
    n INTEGER PRIMARY KEY,
    event TEXT NOT NULL,
    root TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    version TEXT NOT NULL,
    step TEXT NOT NULL,
    slot TEXT NOT NULL,
    parent INTEGER NOT NULL,
    state INTEGER NOT NULL,
    ending TEXT,
    reason TEXT NOT NULL,
    target TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    avoid BLOB NOT NULL,
    deadline REAL NOT NULL,
    root_at REAL NOT NULL,
    trace BLOB NOT NULL,
    matched INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    claims BLOB NOT NULL,
    decided INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE UNIQUE INDEX row_key ON row (event, pipeline, step, slot);
CREATE INDEX row_root ON row (root);
CREATE INDEX row_at ON row (closed, at);
CREATE TABLE count (pipeline TEXT, step TEXT, what TEXT, n INTEGER NOT NULL, PRIMARY KEY (pipeline, step, what)) WITHOUT ROWID;
CREATE TABLE position (stream TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE decision (
    scope TEXT NOT NULL, key TEXT NOT NULL, first TEXT NOT NULL, at REAL NOT NULL, until REAL NOT NULL, present INTEGER NOT NULL,
    value BLOB NOT NULL, PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE TABLE definition (
    name TEXT NOT NULL, version TEXT NOT NULL, body BLOB NOT NULL, at REAL NOT NULL, PRIMARY KEY (name, version)
) WITHOUT ROWID;
CREATE TABLE kept (cid TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
"""
JOURNAL = Schema(
    "journal",
    (_VERSION_1,),
    code="journal.open",
    newer_code="journal.version",
    hint="check the disk and the file's owner; a damaged journal can be moved away to start with an empty one",
)
_pack = msgspec.msgpack.encode
_COLUMNS = (
    "n, event, root, pipeline, version, step, slot, parent, state, ending, reason, target, attempts, avoid, deadline, root_at, "
    "trace, matched, closed, claims, decided, at"
)
_INSERT = f"INSERT OR REPLACE INTO row ({_COLUMNS}) VALUES ({','.join('?' * 22)})"  # noqa: S608


class Journal(Table):
    """The table of rows with its file. All methods are for the loop's thread."""

    def __init__(
        self, path: Path, *, max_open: int = 10_000, keep_rows: int = KEEP_ROWS, storage: Storage | None = None
    ) -> None:
        """`storage` writes the file at `path`; None: the usual storage, with a thread."""
        super().__init__(max_open=max_open, keep_rows=keep_rows)
        self.storage = Storage(path, JOURNAL) if storage is None else storage
        self.positions: dict[str, Any] = {}
        """Reading positions of sources, by stream."""
        self._stamped = 0.0

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Load the open rows, on this loop; raises EdgeError where the file cannot be used."""
        db = self.storage.open_reader()
        try:
            self._shift(db)
            unreadable = self._load(db)
        except (OSError, sqlite3.Error, *DAMAGED) as e:
            self.close()
            raise Unusable(JOURNAL, self.storage.path, e) from None
        self.storage.start()
        self._stamp()
        self._leave_out(unreadable)

    def _load(self, db: sqlite3.Connection) -> list[tuple[Any, ...]]:
        """Load the file's rows; returns the rows that cannot be loaded."""
        unreadable: list[tuple[Any, ...]] = []
        events = {i: bytes(body) for i, body in db.execute("SELECT id, body FROM event")}
        for values in db.execute(f"SELECT {_COLUMNS} FROM row ORDER BY n"):  # noqa: S608
            self.next_n = values[0] + 1
            try:
                row = _row(values, events)
            except (LookupError, TypeError, ValueError, *DAMAGED) as e:
                log.debug("row %d of the journal cannot be read: %r", values[0], e)
                unreadable.append(values)
                continue
            self.insert(row)
        for pipeline, step, what, n in db.execute("SELECT pipeline, step, what, n FROM count"):
            self.counts[pipeline, step][what] = n
        self.positions = {s: msgspec.json.decode(v) for s, v in db.execute("SELECT stream, value FROM position")}
        self.kept = dict(db.execute("SELECT cid, until FROM kept"))
        return unreadable

    def _leave_out(self, unreadable: list[tuple[Any, ...]]) -> None:
        """Delete such rows; those that were open count as lost, so that the sums hold."""
        if not unreadable:
            return
        lost = Counter((str(v[3]), str(v[5])) for v in unreadable if v[9] is None)
        log.warning("%d rows of the journal cannot be read; %d were open and are lost", len(unreadable), lost.total())
        for key, n in lost.items():
            self.counts[key]["lost"] += n

        def write(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM row WHERE n = ?", [(v[0],) for v in unreadable])
            _count(db, {(*key, "lost"): n for key, n in lost.items()})

        self.storage.write(write)

    def close(self) -> None:
        """Write everything and close the file."""
        self.storage.stop()

    def _shift(self, db: sqlite3.Connection) -> None:
        """After a reboot CLOCK_BOOTTIME counts from 0 again: move what is stored, and the stamp with it, at once or not at all."""
        meta = dict(db.execute("SELECT key, value FROM meta"))
        if meta.get("boot_id") in (None, boot_id()):
            return
        by = shift_after_reboot(float(meta["boottime"]), float(meta["wall"]))
        with transaction(db):
            db.execute("UPDATE row SET deadline = deadline + ?, root_at = root_at + ?, at = at + ?", (by, by, by))
            db.execute("UPDATE decision SET at = at + ?, until = until + ?", (by, by))
            db.execute("UPDATE kept SET until = until + ?", (by,))
            _stamp(db)

    def _stamp(self) -> None:
        """Note the clocks: where the wall clock is lost with the power, deadlines are right to STAMP_EVERY."""
        self._stamped = boottime()
        self.storage.write(_stamp)

    def query(self, sql: str, *args: Any) -> list[Any]:
        """Rows of a read-only query with a small result (decisions). Raises EdgeError `journal.open` for a damaged file."""
        return self.storage.query(sql, *args)

    # -- changes ------------------------------------------------------------------------------------------------------

    def write(self, changes: Changes) -> asyncio.Future[Any]:
        """Write the changes in one transaction; resolves when they are on the disk."""
        values = [_values(r) for r in changes.written.values()]
        if boottime() - self._stamped > STAMP_EVERY:
            self._stamp()
        if changes.position is not None:
            self.positions[changes.position[0]] = changes.position[1]
        future = self.storage.write(lambda db: _write(db, changes, values))
        if changes.closed:
            self._purge()
            if released := changes.released():
                future.add_done_callback(partial(self._closing_written, released))
                return asyncio.shield(future)  # a cancelled caller does not cancel the write
        return future

    def _closing_written(self, cids: list[str], written: asyncio.Future[Any]) -> None:
        if written.exception() is None:
            self.count_written(cids)

    def commit(self) -> asyncio.Future[Any]:
        """Resolves when everything that was written until now is on the disk."""
        return self.storage.write(lambda db: None)

    def count(self, pipeline: str, step: str, what: str, n: int = 1) -> None:
        """Add to a step's count, here and on the disk."""
        self.counts[pipeline, step][what] += n
        self.storage.write(lambda db: _count(db, {(pipeline, step, what): n}))

    def forget_kept(self, cids: list[str]) -> asyncio.Future[Any]:
        """The photos' time is over. Resolves when that is on the disk."""
        for cid in cids:
            self.kept.pop(cid, None)
        return self.storage.write(lambda db: db.executemany("DELETE FROM kept WHERE cid = ?", [(c,) for c in cids]))

    def _purge(self) -> None:
        numbers = [(r.n,) for r in self.purge()]
        if numbers:
            self.storage.write(lambda db: _delete(db, numbers))


def _stamp(db: sqlite3.Connection) -> None:
    values = [("boot_id", boot_id()), ("boottime", str(boottime())), ("wall", str(time.time()))]
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)


def _values(row: Row) -> tuple[Any, ...]:
    return (
        row.n, row.event.id, row.event.root or row.event.id, row.pipeline, row.version, row.step, row.slot, row.parent,
        int(row.state), row.end, row.reason, row.target, row.attempts, _pack(row.avoid), row.deadline, row.root_at,
        _pack(row.trace), row.matched, row.closed, _pack(row.claims), row.decided, boottime(),
    )  # fmt: skip


def _row(v: tuple[Any, ...], events: dict[str, bytes]) -> Row:
    event = decode_event(events[v[1]])
    if not v[18]:
        check_depth(event.data)  # before this limit, an event too deep to encode could be stored
    return new_row(
        v[0], event, v[3], v[4], v[5], slot=v[6], parent=v[7],
        state=State(v[8]), end=v[9], reason=v[10], target=v[11], attempts=v[12],
        avoid=msgspec.msgpack.decode(v[13], type=tuple[str, ...]), deadline=v[14], root_at=v[15],
        trace=msgspec.msgpack.decode(v[16], type=tuple[Hop, ...]), matched=bool(v[17]), closed=bool(v[18]),
        claims=msgspec.msgpack.decode(v[19], type=dict[str, int]), decided=bool(v[20]),
    )  # fmt: skip


def _write(db: sqlite3.Connection, changes: Changes, values: list[tuple[Any, ...]]) -> None:
    if changes.events:
        db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?)", list(changes.events.values()))
    db.executemany(_INSERT, values)
    _count(db, changes.counts)
    if changes.kept:
        db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", list(changes.kept.items()))
    if changes.position is not None:
        stream, position = changes.position
        db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (stream, msgspec.json.encode(position)))


def _delete(db: sqlite3.Connection, numbers: list[tuple[int]]) -> None:
    db.executemany("DELETE FROM row WHERE n = ?", numbers)
    db.execute("DELETE FROM event WHERE id NOT IN (SELECT event FROM row)")


def _count(db: sqlite3.Connection, counts: Mapping[tuple[str, str, str], int]) -> None:
    db.executemany(
        "INSERT INTO count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
        [(*key, n) for key, n in counts.items()],
    )
