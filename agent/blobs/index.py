"""What the store remembers of each blob besides its bytes: size, leaf digests, and when it was last used.

It is a cache of what lies on disk: it is compared with the folder at start, and rebuilt from it when it
is damaged.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (
    cid TEXT PRIMARY KEY, size INTEGER NOT NULL, used INTEGER NOT NULL, leaves BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_used ON blobs (used);
"""


class Index:
    """The table of blobs; not thread-safe: the store calls it under its lock."""

    def __init__(self, path: Path, on_disk: Callable[[], dict[str, int]]) -> None:
        """Open `path`, or make it; `on_disk` lists the blobs that are really there, with their sizes."""
        self._path = path
        self._on_disk = on_disk
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._rebuild(error)

    def _open(self) -> None:
        db = self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            # It can be rebuilt, so it need not survive a power cut.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=OFF")
            db.executescript(_SCHEMA)
            self._reconcile()
            self._clock = int(db.execute("SELECT COALESCE(MAX(used), 0) FROM blobs").fetchone()[0])
        except sqlite3.DatabaseError:
            db.close()
            raise

    def _reconcile(self) -> None:
        disk = self._on_disk()
        known = {str(cid): int(size) for cid, size in self._db.execute("SELECT cid, size FROM blobs")}
        self._db.execute("BEGIN")
        self._db.executemany(
            "DELETE FROM blobs WHERE cid = ?", [(c,) for c, size in known.items() if disk.get(c) != size]
        )
        self._db.executemany(
            "INSERT INTO blobs (cid, size, used) VALUES (?, ?, 0)",
            [(c, size) for c, size in disk.items() if known.get(c) != size],
        )
        self._db.execute("COMMIT")

    def _rebuild(self, error: sqlite3.DatabaseError) -> None:
        logger.warning("the blob index is damaged and is rebuilt from the files: %s", error)
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._open()

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._db)
        except sqlite3.DatabaseError as error:
            self._db.close()
            self._rebuild(error)
            return work(self._db)

    def tick(self) -> int:
        """The next moment of the LRU clock."""
        self._clock += 1
        return self._clock

    def add(self, cid: str, size: int, leaves: bytes | None) -> None:
        """Remember a blob as just used."""
        row = (cid, size, self.tick(), leaves)
        self._do(lambda db: db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?)", row))

    def touch(self, used: dict[str, int]) -> None:
        """Write down when these blobs were last used."""
        rows = [(moment, cid) for cid, moment in used.items()]

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN")
            db.executemany("UPDATE blobs SET used = ? WHERE cid = ?", rows)
            db.execute("COMMIT")

        self._do(work)

    def remove(self, cid: str) -> None:
        """Forget a blob."""
        self._do(lambda db: db.execute("DELETE FROM blobs WHERE cid = ?", (cid,)))

    def leaves(self, cid: str) -> bytes | None:
        """The digests of the blob's leaves where they are known."""
        row = self._do(lambda db: db.execute("SELECT leaves FROM blobs WHERE cid = ?", (cid,)).fetchone())
        return row[0] if row else None

    def oldest(self, page: int = 256) -> Iterator[tuple[str, int]]:
        """Blobs with their sizes, least recently used first; rows may be removed while iterating."""
        last: tuple[int, str] = (-1, "")
        while True:
            query = "SELECT used, cid, size FROM blobs WHERE (used, cid) > (?, ?) ORDER BY used, cid LIMIT ?"
            args = (*last, page)
            rows = self._do(lambda db, q=query, a=args: db.execute(q, a).fetchall())  # type: ignore[misc]
            for used, cid, size in rows:
                last = (used, cid)
                yield str(cid), int(size)
            if len(rows) < page:
                return

    def totals(self) -> tuple[int, int]:
        """Number of blobs and their bytes."""
        row = self._do(lambda db: db.execute("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM blobs").fetchone())
        return int(row[0]), int(row[1])

    def close(self) -> None:
        """Close the database."""
        self._db.close()
