"""The journal: the rows that this node has accepted, on disk first; in memory those that are not closed, and those that closed lately.

Every change is made in memory and handed to the writer at once, so the order in the file is the order in memory;
a caller that must not answer before it is on the disk awaits the returned future. Counters of accepted rows and of ends are kept
beside the rows in the same transactions and outlive them.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from agent.delivery.rows import Row
from agent.delivery.stored_rows import (
    COLUMNS,
    UNREADABLE,
    Values,
    delete_rows,
    is_over,
    key_of,
    parent_of,
    row_of,
    values_of,
    write_rows,
)
from agent.delivery.table import KEEP_ROWS, RECENT_ROWS, REST, Table
from agent.model.decoding import DAMAGED

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
MAX_OF_ROOT = 2_000
"""Most rows on the disk that `of_root` reads."""


BURST = 256
"""Rows after which freed memory is given back. With fewer it is not worth the milliseconds."""


class Journal(Table):
    """The table of rows with its file. All methods are for the loop's thread."""

    def __init__(
        self, path: Path, *, max_open: int = 10_000, keep_rows: int = KEEP_ROWS, recent_rows: int = RECENT_ROWS,
        rest: float = REST, storage: Storage | None = None,
    ) -> None:  # fmt: skip
        """`storage` writes the file at `path`; None: the usual storage, with a thread."""
        super().__init__(max_open=max_open, keep_rows=keep_rows, recent_rows=recent_rows, rest=rest)
        self.storage = Storage(path, JOURNAL) if storage is None else storage
        self.positions: dict[str, Any] = {}
        """Reading positions of sources, by stream."""
        self._stamped = 0.0
        self._leaving: dict[int, Row] = {}
        """Closed rows that leave the memory once the disk has them, unless they change before."""

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Load the open rows, on this loop; raises EdgeError where the file cannot be used."""
        db = self.storage.open_reader()
        try:
            self._shift(db)
            unreadable = self._load(db)
        except Unusable:
            self.close()
            raise
        except (OSError, sqlite3.Error, *DAMAGED) as e:
            self.close()
            raise Unusable(JOURNAL, self.storage.path, e) from None
        self.storage.start()
        self._stamp()
        self._leave_out(unreadable)

    def _load(self, db: sqlite3.Connection) -> list[Values]:
        """Load the rows that are needed in memory; returns the rows that cannot be read."""
        unreadable: list[Values] = []
        for values in db.execute(f"SELECT {COLUMNS} FROM row ORDER BY n"):  # noqa: S608
            self.next_n = values[0] + 1
            try:
                if (
                    is_over(values)
                    and parent_of(values) not in self.by_n
                    and self.archive.add(key_of(values), values[0])
                ):
                    continue
                self.insert(self._row(values))
            except UNREADABLE as e:
                log.debug("row %d of the journal cannot be read: %r", values[0], e)
                unreadable.append(values)
        for pipeline, step, what, n in db.execute("SELECT pipeline, step, what, n FROM count"):
            self.counts[pipeline, step][what] = n
        self.positions = {s: msgspec.json.decode(v) for s, v in db.execute("SELECT stream, value FROM position")}
        self.kept = dict(db.execute("SELECT cid, until FROM kept"))
        return unreadable

    def _leave_out(self, unreadable: list[Values]) -> None:
        """Delete such rows; those that were open count as lost, so that the sums hold."""
        if not unreadable:
            return
        lost = Counter((str(v[3]), str(v[5])) for v in unreadable if v[9] is None)
        log.warning("%d rows of the journal cannot be read; %d were open and are lost", len(unreadable), lost.total())
        for key, n in lost.items():
            self.counts[key]["lost"] += n

        def write(db: sqlite3.Connection) -> None:
            delete_rows(db, [v[0] for v in unreadable])
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
        values = [values_of(r) for r in changes.written.values()]
        for n in changes.written if self._leaving else ():
            self._leaving.pop(n, None)
        if boottime() - self._stamped > STAMP_EVERY:
            self._stamp()
        if changes.position is not None:
            self.positions[changes.position[0]] = changes.position[1]
        future = self.storage.write(lambda db: _write(db, changes, values))
        if changes.closed:
            self._purge()
            if self.crowded and not self._leaving:
                self._let_go(self.rested(), future)
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
        if numbers := self.purge():
            self.storage.write(lambda db: delete_rows(db, numbers))

    def rest(self) -> None:
        """Closed rows that have rested leave the memory as soon as the disk has them as they are."""
        if rested := self.rested():
            self._let_go(rested, self.commit())

    def give_back(self) -> None:
        """After a burst has left the memory, give that memory back to the system."""
        if self.left >= BURST:
            self.left = 0
            self.shrink()
            self.storage.shrink()

    def _let_go(self, rested: list[Row], written: asyncio.Future[Any]) -> None:
        if rested and not self._leaving:
            self._leaving = {row.n: row for row in rested}
            written.add_done_callback(self._rested)

    def _rested(self, written: asyncio.Future[Any]) -> None:
        leaving, self._leaving = self._leaving, {}
        if written.exception() is None:
            self.leave(leaving.values())

    # -- rows that are on the disk only ---------------------------------------------------------------------------------

    def find(self, event: str, pipeline: str, step: str, slot: str) -> Row | None:
        """The row with this key; one that is on the disk only comes back into memory."""
        key = (event, pipeline, step, slot)
        row = self.rows.get(key)
        if row is None and (n := self.archive.find(key)):
            self._recall(n)
            row = self.rows.get(key)
        return row

    def _recall(self, n: int) -> None:
        """Take the row back into memory, with the rows below it."""
        family: set[int] = set()
        unreadable: list[Values] = []
        sql = f"SELECT {COLUMNS} FROM row WHERE root = (SELECT root FROM row WHERE n = ?) AND n >= ? ORDER BY n"  # noqa: S608
        for values in self.query(sql, n, n):
            if values[0] != n and parent_of(values) not in family:
                continue
            family.add(values[0])
            if self._is_archived(values):
                self.archive.remove(key_of(values))
                try:
                    self.insert(self._row(values))
                except UNREADABLE as e:
                    log.debug("row %d of the journal cannot be read: %r", values[0], e)
                    unreadable.append(values)
        self._leave_out(unreadable)

    def of_root(self, root: str) -> list[Row]:
        """The rows of one root event, oldest first; those that are on the disk only stay there."""
        rows = super().of_root(root)
        for values in self.query(f"SELECT {COLUMNS} FROM row WHERE root = ? LIMIT ?", root, MAX_OF_ROOT):  # noqa: S608
            if self._is_archived(values):
                with contextlib.suppress(*UNREADABLE):
                    rows.append(self._row(values))
        return sorted(rows, key=lambda r: r.n)

    def stored_roots(self, beginning: str) -> set[str]:
        """Some roots of rows on the disk: of events, and of roots, whose id begins so."""
        within = "SELECT root FROM row WHERE {0} >= ?1 AND {0} < ?2"
        sql = f"{within.format('event')} UNION {within.format('root')} LIMIT ?3"
        return {root for (root,) in self.query(sql, beginning, f"{beginning}\U0010ffff", MAX_OF_ROOT)}

    def stored_steps(self) -> list[tuple[str, str, str]]:
        """(pipeline, version, step) of the rows on the disk."""
        return self.query("SELECT DISTINCT pipeline, version, step FROM row")

    def stored_events(self, pipeline: str, version: str, step: str) -> list[tuple[str, str]]:
        """(event, root) of the rows of a step on the disk."""
        sql = "SELECT event, root FROM row WHERE pipeline = ? AND version = ? AND step = ?"
        return self.query(sql, pipeline, version, step)

    def _is_archived(self, values: Values) -> bool:
        """Whether this row is on the disk only; one that is about to be deleted is not."""
        return self.archive.find(key_of(values)) == int(values[0])

    def _row(self, values: Values) -> Row:
        """Raises UNREADABLE."""
        found = self.query("SELECT body FROM event WHERE id = ?", values[1])
        return row_of(values, bytes(found[0][0]))  # without the event: IndexError, which is a LookupError


def _stamp(db: sqlite3.Connection) -> None:
    values = [("boot_id", boot_id()), ("boottime", str(boottime())), ("wall", str(time.time()))]
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)


def _write(db: sqlite3.Connection, changes: Changes, values: list[Values]) -> None:
    if changes.events:
        db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?)", list(changes.events.values()))
    write_rows(db, values)
    _count(db, changes.counts)
    if changes.kept:
        db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", list(changes.kept.items()))
    if changes.position is not None:
        stream, position = changes.position
        db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (stream, msgspec.json.encode(position)))


def _count(db: sqlite3.Connection, counts: Mapping[tuple[str, str, str], int]) -> None:
    db.executemany(
        "INSERT INTO count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
        [(*key, n) for key, n in counts.items()],
    )
