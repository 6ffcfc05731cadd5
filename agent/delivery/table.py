"""The rows of this node in memory, with an index for each question.

Only `lifecycle.py`, `new_rows.py` (the next number) and the journal change it.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

from agent.blobs import GivesWay
from agent.delivery.rows import ENDS, Key, Row

StepName = tuple[str, str]
"""Pipeline and step."""
KEEP_ROWS = 50_000 if sys.maxsize > 1 << 32 else 5_000
"""Closed rows kept for traces and against late repeats; the oldest go first. One takes 2 KiB of memory; small devices have 32 bits."""


class Table:
    """Every row that is not closed, and the closed rows that are still kept. All methods are for the loop's thread."""

    def __init__(self, *, max_open: int = 10_000, keep_rows: int = KEEP_ROWS) -> None:
        self.max_open = max_open
        self.keep_rows = keep_rows
        self.rows: dict[Key, Row] = {}
        self.by_n: dict[int, Row] = {}
        self.children: dict[int, list[Row]] = defaultdict(list)
        """Rows of the events that a row's run made, by the row's number."""
        self.by_cid: dict[str, set[int]] = defaultdict(set)
        """Numbers of the rows whose event names a blob."""
        self.open_count = 0
        self.delivered_open: Counter[StepName] = Counter()
        """Open rows that other nodes delivered, by step."""
        self.counts: dict[StepName, Counter[str]] = defaultdict(Counter)
        """Accepted rows and ends by step; they outlive the rows."""
        self.kept: dict[str, float] = {}
        """Photos kept for a match → until when (CLOCK_BOOTTIME)."""
        self.closing: Counter[str] = Counter()
        """Blobs of rows that are closed in memory and not yet on the disk: a restart would take these rows up again."""
        self.next_n = 1
        self._from_others: set[int] = set()
        self._closed: list[Row] = []

    # -- questions ----------------------------------------------------------------------------------------------------

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

    # -- which blobs the rows need (agent.blobs.Need) ----------------------------------------------------------------

    gives_way: GivesWay = "never"

    def needs(self, cid: str) -> bool:
        """Whether a row that is not closed, on the disk too, names the blob. For any thread."""
        if cid in self.closing:
            return True
        rows = (self.by_n.get(n) for n in tuple(self.by_cid.get(cid, ())))
        return any(not r.closed for r in rows if r is not None)

    def may_read(self, node_id: str, cid: str) -> bool:
        """Whether a row that this node sends to the other, or has sent, names the blob.

        Rows that the other delivered do not count: a node could name any CID in an event and then read the photo.
        """
        rows = (self.by_n[n] for n in self.by_cid.get(cid, ()) if n in self.by_n)
        return any(node_id in (r.target, r.slot) for r in rows)

    def mark(self) -> int:
        """A number that every later row is at or above."""
        return self.next_n

    def named_since(self, cid: str, mark: int) -> bool:
        """Whether a row that came after the mark names the blob."""
        return any(n >= mark for n in self.by_cid.get(cid, ()))

    def versions_in_use(self) -> set[tuple[str, str]]:
        """(pipeline, version) of every row that is not closed."""
        return {(r.pipeline, r.version) for r in self.rows.values() if not r.closed}

    def totals(self) -> dict[StepName, dict[str, int]]:
        """Accepted, each end, and open for each step; accepted = the ends + open always."""
        opened: Counter[StepName] = Counter((r.pipeline, r.step) for r in self.rows.values() if r.open)
        return {
            key: {"accepted": c["accepted"], **{e: c[e] for e in ENDS}, "open": opened[key]}
            for key, c in sorted(self.counts.items())
        }

    # -- changes ------------------------------------------------------------------------------------------------------

    def insert(self, row: Row) -> None:
        """Take in a new row."""
        self.rows[row.key] = row
        self.by_n[row.n] = row
        if row.parent:
            self.children[row.parent].append(row)
        if row.open:
            self.count_open(row, 1)
        for blob in row.event.blobs():
            self.by_cid[blob.cid].add(row.n)
        if row.closed:
            self._closed.append(row)

    def rekey(self, row: Row, old: Key) -> None:
        """The row's slot has changed."""
        self.rows.pop(old, None)
        self.rows[row.key] = row

    def count_open(self, row: Row, by: int) -> None:
        """The row was opened (1) or has ended (-1)."""
        self.open_count += by
        if by > 0 and row.delivered:
            self._from_others.add(row.n)
        if row.n in self._from_others:
            self.delivered_open[row.pipeline, row.step] += by
        if by < 0:
            self._from_others.discard(row.n)

    def count_closed(self, row: Row) -> None:
        """The row's whole branch has ended; `count_written` follows when that is on the disk."""
        self._closed.append(row)
        self.closing.update(b.cid for b in row.event.blobs())

    def count_written(self, cids: list[str]) -> None:
        """The closing of rows that name these blobs is on the disk."""
        self.closing.subtract(cids)
        for cid in cids:
            if not self.closing[cid]:
                del self.closing[cid]

    def count_unclosed(self, row: Row) -> None:
        """A closed row was taken up again."""
        self._closed = [r for r in self._closed if r is not row]

    def purge(self) -> list[Row]:
        """Forget the oldest closed rows beyond `keep_rows`, many at a time; returns them."""
        over = len(self._closed) - self.keep_rows
        if over < max(64, self.keep_rows // 100):
            return []
        gone, self._closed = self._closed[:over], self._closed[over:]
        for row in gone:
            self.rows.pop(row.key, None)
            self.by_n.pop(row.n, None)
            self.children.pop(row.n, None)
            for blob in row.event.blobs():
                self.by_cid[blob.cid].discard(row.n)
                if not self.by_cid[blob.cid]:
                    del self.by_cid[blob.cid]
        return gone


class KeptPhotos:
    """The need of photos that are kept for a match: they make room for new blobs, the least recently used first."""

    gives_way: GivesWay = "first"

    def __init__(self, table: Table) -> None:
        self._table = table

    def needs(self, cid: str) -> bool:
        """Whether the blob is kept. For any thread."""
        return cid in self._table.kept

    def may_read(self, node_id: str, cid: str) -> bool:
        """No node may read a blob because it is kept."""
        return False
