"""The journal: what this node has accepted and not yet settled, on disk first, in memory for speed.

Every change is made in memory and handed to the writer in the same breath, so the order in the file is the order in memory;
whoever must not answer before it is on the disk awaits the returned future. Counters of accepted rows and of ends are kept
beside the rows in the same transactions and outlive them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from agent.clock import boot_id, boottime, shift_after_reboot
from agent.database import Storage, unusable
from agent.delivery.rows import ENDS, End, Row, State
from agent.model.alert import Hop
from agent.model.decoding import DAMAGED
from agent.model.event import Event, check_depth, decode_event

log = logging.getLogger(__name__)

KEEP_ROWS = 50_000
"""Closed rows kept for traces and against late repeats; the oldest go first."""
STAMP_EVERY = 30.0
_pack = msgspec.msgpack.encode
_COLUMNS = (
    "n, event, root, pipeline, version, step, slot, parent, state, ending, reason, target, attempts, avoid, deadline, root_at, "
    "trace, matched, closed, claims, decided, at"
)
_INSERT = f"INSERT OR REPLACE INTO row ({_COLUMNS}) VALUES ({','.join('?' * 22)})"  # noqa: S608
StepKey = tuple[str, str]


class Journal:
    """Rows by key, with what is open in memory. All methods are for the loop's thread."""

    def __init__(
        self, path: Path, *, max_open: int = 10_000, keep_rows: int = KEEP_ROWS, storage: Storage | None = None
    ) -> None:
        """`storage` writes the file at `path`; None: the usual one, with a thread."""
        self.storage = Storage(path) if storage is None else storage
        self.max_open = max_open
        self.keep_rows = keep_rows
        self.rows: dict[tuple[str, str, str, str], Row] = {}
        """Every row that is not closed, and the closed ones that are still kept."""
        self.by_n: dict[int, Row] = {}
        self.children: dict[int, list[Row]] = defaultdict(list)
        self.by_cid: dict[str, set[int]] = defaultdict(set)
        self.open_count = 0
        self.delivered_open: Counter[StepKey] = Counter()
        """Open rows that other nodes delivered, by step."""
        self._from_others: set[int] = set()
        self.counts: dict[StepKey, Counter[str]] = defaultdict(Counter)
        self._taken_back: Counter[tuple[str, str, str]] = Counter()
        """Ends of re-opened rows: they leave the counts in the transaction that writes the rows."""
        self.positions: dict[str, Any] = {}
        self.kept: dict[str, float] = {}
        self.changed: Callable[[Row], None] = lambda row: None
        """Called after each change of a row, before it is on the disk."""
        self._next = 1
        self._closed: list[Row] = []
        self._stamped = 0.0

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Load what was open, on this loop; raises EdgeError where the file cannot be used."""
        db = self.storage.open_reader()
        try:
            self._shift(db)
            unreadable = self._load(db)
        except (OSError, sqlite3.Error, *DAMAGED) as e:
            self.close()
            raise unusable(self.storage.path, e) from None
        self.storage.start()
        self._stamp()
        self._leave_out(unreadable)

    def _load(self, db: sqlite3.Connection) -> list[tuple[Any, ...]]:
        """Take up what the file holds; gives back the rows that cannot be."""
        unreadable: list[tuple[Any, ...]] = []
        events = {i: bytes(body) for i, body in db.execute("SELECT id, body FROM event")}
        for values in db.execute(f"SELECT {_COLUMNS} FROM row ORDER BY n"):  # noqa: S608
            self._next = values[0] + 1
            try:
                row = _row(values, events)
            except (LookupError, TypeError, ValueError, *DAMAGED) as e:
                log.debug("row %d of the journal cannot be read: %r", values[0], e)
                unreadable.append(values)
                continue
            self._index(row)
            if row.closed:
                self._closed.append(row)
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
        counts = {(*key, "lost"): n for key, n in lost.items()}
        for (pipeline, step, what), n in counts.items():
            self.counts[pipeline, step][what] += n

        def write(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM row WHERE n = ?", [(v[0],) for v in unreadable])
            _count(db, counts)

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
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE row SET deadline = deadline + ?, root_at = root_at + ?, at = at + ?", (by, by, by))
        db.execute("UPDATE decision SET at = at + ?, until = until + ?", (by, by))
        db.execute("UPDATE kept SET until = until + ?", (by,))
        _stamp(db)
        db.execute("COMMIT")

    def _stamp(self) -> None:
        """Note the clocks: where the wall clock is lost with the power, deadlines are right to STAMP_EVERY."""
        self._stamped = boottime()
        self.storage.write(_stamp)

    # -- what callers ask ---------------------------------------------------------------------------------------------

    def new(self, event: Event, pipeline: str, version: str, step: str, **fields: Any) -> Row:
        """A row with the next number, not yet journalled."""
        row = Row(self._next, event, pipeline, version, step, **fields)
        self._next += 1
        return row

    def room(self) -> int:
        """How many more rows may be opened."""
        return max(0, self.max_open - self.open_count)

    def find(self, event: str, pipeline: str, step: str, slot: str) -> Row | None:
        """The row with this key."""
        return self.rows.get((event, pipeline, step, slot))

    def open_rows(self) -> list[Row]:
        """Every open row, oldest first."""
        return sorted((r for r in self.rows.values() if r.open), key=lambda r: r.n)

    def of_root(self, root: str) -> list[Row]:
        """The rows of one root event, oldest first."""
        return sorted((r for r in self.rows.values() if (r.event.root or r.event.id) == root), key=lambda r: r.n)

    def needs(self, cid: str) -> bool:
        """Whether a row that is not closed names the blob, or it is kept for a match."""
        return cid in self.kept or any(not self.by_n[n].closed for n in self.by_cid.get(cid, ()) if n in self.by_n)

    def mark(self) -> int:
        """A number that every later row is at or above."""
        return self._next

    def named_since(self, cid: str, mark: int) -> bool:
        """Whether a row that came after the mark names the blob."""
        return any(n >= mark for n in self.by_cid.get(cid, ()))

    def query(self, sql: str, *args: Any) -> list[Any]:
        """Rows of a read-only query; for small ones (decisions). Raises EdgeError `journal.open` for a damaged file."""
        return self.storage.query(sql, *args)

    def versions_in_use(self) -> set[tuple[str, str]]:
        """(pipeline, version) of every row that is not closed."""
        return {(r.pipeline, r.version) for r in self.rows.values() if not r.closed}

    # -- changes ------------------------------------------------------------------------------------------------------

    def commit(
        self,
        *,
        add: Iterable[Row] = (),
        change: Iterable[Row] = (),
        end: Iterable[tuple[Row, End, str]] = (),
        position: tuple[str, Any] | None = None,
    ) -> asyncio.Future[Any]:
        """One transaction: new rows, changed rows, ends, and the source's position. Resolves when it is on the disk."""
        counts: Counter[tuple[str, str, str]] = Counter()
        events: dict[str, tuple[str, str, bytes]] = {}
        written: dict[int, Row] = {}
        add = list(add)
        for row in add:  # before anything changes: an event that cannot be encoded must leave no trace
            events[row.event.id] = (row.event.id, row.event.root or row.event.id, row.event.encode())
        counts.subtract(self._taken_back)
        self._taken_back.clear()
        for row in add:
            self._index(row)
            counts[row.pipeline, row.step, "accepted"] += 1
            if row.end is not None:
                counts[row.pipeline, row.step, row.end] += 1
            written[row.n] = row
        for row in change:
            written[row.n] = row
        for row, how, why in end:
            if row.end is None:
                row.end, row.reason, row.state = how, why[:500], State.ENDED
                self._opened(row, -1)
                counts[row.pipeline, row.step, how] += 1
            written[row.n] = row
        for (pipeline, step, what), n in counts.items():
            self.counts[pipeline, step][what] += n
        if position is not None:
            self.positions[position[0]] = position[1]
        values = [_values(r) for r in written.values()]
        if boottime() - self._stamped > STAMP_EVERY:
            self._stamp()
        future = self.storage.write(lambda db: _write(db, list(events.values()), values, counts, position))
        for row in written.values():
            self.changed(row)
        return future

    def count(self, pipeline: str, step: str, what: str, n: int = 1) -> None:
        """Add to a step's count, here and on the disk."""
        self.counts[pipeline, step][what] += n
        self.storage.write(lambda db: _count(db, {(pipeline, step, what): n}))

    def reopen(self, row: Row) -> None:
        """Take an ended row up again (another run was asked for); the caller commits the change."""
        if row.end is not None:
            self._taken_back[row.pipeline, row.step, row.end] += 1
            row.end, row.reason, row.matched = None, "", False
            self._opened(row, 1)
        if row.closed:
            row.closed = False
            self._closed = [r for r in self._closed if r is not row]

    def close_row(self, row: Row, *, keep: float) -> asyncio.Future[Any]:
        """Mark a row closed: its whole branch has ended. Its photos stay `keep` seconds if it matched."""
        row.closed = True
        self._closed.append(row)
        cids = [b.cid for b in row.event.blobs()] if keep > 0 else []
        until = boottime() + keep
        for cid in cids:
            self.kept[cid] = until
        values = [_values(row)]

        def write(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", [(c, until) for c in cids])
            db.executemany(_INSERT, values)

        future = self.storage.write(write)
        self.changed(row)
        self._purge()
        return future

    def forget_kept(self, cids: list[str]) -> asyncio.Future[Any]:
        """The photos' time is over. Resolves when that is on the disk."""
        for cid in cids:
            self.kept.pop(cid, None)
        return self.storage.write(lambda db: db.executemany("DELETE FROM kept WHERE cid = ?", [(c,) for c in cids]))

    def _purge(self) -> None:
        over = len(self._closed) - self.keep_rows
        if over < max(64, self.keep_rows // 100):
            return
        gone, self._closed = self._closed[:over], self._closed[over:]
        for row in gone:
            self.rows.pop(row.key, None)
            self.by_n.pop(row.n, None)
            self.children.pop(row.n, None)
            for blob in row.event.blobs():
                self.by_cid[blob.cid].discard(row.n)
                if not self.by_cid[blob.cid]:
                    del self.by_cid[blob.cid]
        numbers = [(r.n,) for r in gone]

        def write(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM row WHERE n = ?", numbers)
            db.execute("DELETE FROM event WHERE id NOT IN (SELECT event FROM row)")

        self.storage.write(write)

    def _index(self, row: Row) -> None:
        self.rows[row.key] = row
        self.by_n[row.n] = row
        if row.parent:
            self.children[row.parent].append(row)
        if row.open:
            self._opened(row, 1)
        for blob in row.event.blobs():
            self.by_cid[blob.cid].add(row.n)

    def _opened(self, row: Row, by: int) -> None:
        self.open_count += by
        if by > 0 and row.delivered:
            self._from_others.add(row.n)
        if row.n in self._from_others:
            self.delivered_open[row.pipeline, row.step] += by
        if by < 0:
            self._from_others.discard(row.n)

    def totals(self) -> dict[StepKey, dict[str, int]]:
        """Accepted, each end, and open for each step; accepted = the ends + open always."""
        opened: Counter[StepKey] = Counter((r.pipeline, r.step) for r in self.rows.values() if r.open)
        return {
            key: {"accepted": c["accepted"], **{e: c[e] for e in ENDS}, "open": opened[key]}
            for key, c in sorted(self.counts.items())
        }


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
        check_depth(event.data)  # before there was this limit, one too deep to encode could be stored
    return Row(
        n=v[0], event=event, pipeline=v[3], version=v[4], step=v[5], slot=v[6], parent=v[7],
        state=State(v[8]), end=v[9], reason=v[10], target=v[11], attempts=v[12],
        avoid=msgspec.msgpack.decode(v[13], type=list[str]), deadline=v[14], root_at=v[15],
        trace=msgspec.msgpack.decode(v[16], type=list[Hop]), matched=bool(v[17]), closed=bool(v[18]),
        claims=msgspec.msgpack.decode(v[19], type=dict[str, int]), decided=bool(v[20]),
    )  # fmt: skip


def _write(
    db: sqlite3.Connection,
    events: list[tuple[str, str, bytes]],
    values: list[tuple[Any, ...]],
    counts: dict[tuple[str, str, str], int],
    position: tuple[str, Any] | None,
) -> None:
    db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?)", events)
    db.executemany(_INSERT, values)
    _count(db, counts)
    if position is not None:
        db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (position[0], msgspec.json.encode(position[1])))


def _count(db: sqlite3.Connection, counts: dict[tuple[str, str, str], int]) -> None:
    db.executemany(
        "INSERT INTO count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
        [(*key, n) for key, n in counts.items()],
    )
