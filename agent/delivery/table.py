"""The rows of this node in memory, with an index for each question.

Closed rows leave the memory after a while; the journal looks for them on the disk. While a row is in memory, its children are too.
Only `lifecycle.py`, `new_rows.py` (the next number) and the journal change it.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice

from agent.blobs import GivesWay
from agent.clock import boottime
from agent.delivery.archive import Archive
from agent.delivery.rows import ENDS, Key, Row

StepName = tuple[str, str]
"""Pipeline and step."""
_SMALL = sys.maxsize < 1 << 32
"""Small devices have 32 bits."""
KEEP_ROWS = 5_000 if _SMALL else 50_000
"""Closed rows kept on the disk for traces and against late repeats; the oldest go first."""
RECENT_ROWS = 500
"""Closed rows in memory above which the oldest leave before their time. One takes 2 KiB."""
REST = 60.0
"""Seconds that closed rows stay in memory: most repeats come within them."""


class Table:
    """Every row that is not closed, and closed rows that are still in memory. All methods are for the loop's thread."""

    def __init__(
        self, *, max_open: int = 10_000, keep_rows: int = KEEP_ROWS, recent_rows: int = RECENT_ROWS, rest: float = REST
    ) -> None:
        self.max_open = max_open
        self.keep_rows = keep_rows
        self.recent_rows = recent_rows
        self.rest_for = rest
        self.rows: dict[Key, Row] = {}
        self.by_n: dict[int, Row] = {}
        self.children: dict[int, list[Row]] = defaultdict(list)
        """Rows in memory of the events that a row's run made, by the row's number."""
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
        self._closed: dict[int, float] = {}
        """Closed rows in memory → since when, the first to leave first."""
        self._full = recent_rows
        """How many of them there are when the next should leave."""
        self.archive = Archive()
        self.left = 0
        """Rows that have left the memory; `Journal.give_back` begins again at 0."""

    # -- questions ----------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """How many more rows may be opened."""
        return max(0, self.max_open - self.open_count)

    def find(self, event: str, pipeline: str, step: str, slot: str) -> Row | None:
        """The row in memory with this key."""
        return self.rows.get((event, pipeline, step, slot))

    def open_rows(self) -> list[Row]:
        """Every open row, oldest first."""
        return sorted((r for r in self.rows.values() if r.open), key=lambda r: r.n)

    def of_root(self, root: str) -> list[Row]:
        """The rows of one root event in memory, oldest first."""
        return sorted((r for r in self.rows.values() if (r.event.root or r.event.id) == root), key=lambda r: r.n)

    @property
    def crowded(self) -> bool:
        """Whether closed rows should leave the memory before their time."""
        return len(self._closed) >= self._full

    # -- which blobs the rows need (agent.blobs.Need) ----------------------------------------------------------------

    gives_way: GivesWay = "never"

    def needs(self, cid: str) -> bool:
        """Whether a row that is not closed, on the disk too, names the blob. For any thread."""
        if cid in self.closing:
            return True
        rows = (self.by_n.get(n) for n in tuple(self.by_cid.get(cid, ())))
        return any(not r.closed for r in rows if r is not None)

    def may_read(self, node_id: str, cid: str) -> bool:
        """Whether a row in memory that this node sends to the other, or has sent, names the blob.

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
            self._closed[row.n] = boottime()

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
        self._closed[row.n] = boottime()
        self.closing.update(b.cid for b in row.event.blobs())

    def count_written(self, cids: list[str]) -> None:
        """The closing of rows that name these blobs is on the disk."""
        self.closing.subtract(cids)
        for cid in cids:
            if not self.closing[cid]:
                del self.closing[cid]

    def count_unclosed(self, row: Row) -> None:
        """A closed row was taken up again."""
        self._closed.pop(row.n, None)

    def rested(self) -> list[Row]:
        """Closed rows that may leave the memory once the disk has them; a row that must stay is due again later."""
        now, due = boottime(), list[Row]()
        early = min(len(self._closed) - self.recent_rows, self.recent_rows)
        for n, since in self._closed.items():
            if len(due) >= early and now - since < self.rest_for:
                break
            due.append(self.by_n[n])
        rested = [row for row in due if _is_whole(row, now)]
        self._stay(set(due) - set(rested))
        return rested

    def leave(self, rows: Iterable[Row]) -> None:
        """These closed rows are on the disk as they are here: they leave the memory, parents before their children."""
        for row in sorted(rows, key=lambda r: r.n):
            if self.by_n.get(row.n) is not row or not row.closed:
                continue
            if row.parent not in self.by_n and self.archive.add(row.key, row.n):
                self.forget(row)
                self.left += 1
            else:
                self._stay([row])
        self._full = max(self.recent_rows, len(self._closed)) + self.recent_rows // 4

    def _stay(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._closed.pop(row.n, None)
            self._closed[row.n] = boottime()

    def forget(self, row: Row) -> None:
        """The row leaves the memory."""
        self.rows.pop(row.key, None)
        self.by_n.pop(row.n, None)
        self._closed.pop(row.n, None)
        if (siblings := self.children.get(row.parent)) is not None:
            siblings.remove(row)
            if not siblings:
                del self.children[row.parent]
        for blob in row.event.blobs():
            self.by_cid[blob.cid].discard(row.n)
            if not self.by_cid[blob.cid]:
                del self.by_cid[blob.cid]

    def shrink(self) -> None:
        """After a burst: a dict keeps the room of its largest size until it is copied."""
        self.rows, self.by_n, self._closed = dict(self.rows), dict(self.by_n), dict(self._closed)

    def purge(self) -> list[int]:
        """Forget the oldest closed rows beyond `keep_rows`, many at a time; returns the numbers of those to be deleted."""
        over = len(self._closed) + len(self.archive) - self.keep_rows
        if over < max(64, self.keep_rows // 100):
            return []
        gone = self.archive.take_oldest(over)
        more = list(islice(self._closed, over - len(gone)))
        for n in more:
            self.forget(self.by_n[n])
        return gone + more


def _is_whole(row: Row, now: float) -> bool:
    """Whether the disk has all that matters of a closed row: its reports were heard, and nothing in memory only counts any more."""
    return all(knows == 2 for knows in row.claims.values()) and (now >= row.deadline or not (row.free or row.final))


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
