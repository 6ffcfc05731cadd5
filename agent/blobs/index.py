"""A cache of each blob's size, leaf digests, and time of last use.

It is compared with the folder of files at start, and made again from it when it is damaged.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from agent.blobs.faults import index_error
from agent.database import Schema, open_database, remove, transaction
from agent.errors import EdgeError

logger = logging.getLogger(__name__)

T = TypeVar("T")
_VERSION_1 = """
CREATE TABLE IF NOT EXISTS blobs (
    cid TEXT PRIMARY KEY, size INTEGER NOT NULL, used INTEGER NOT NULL, leaves BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_used ON blobs (used);
"""
"""The first agents made the same table in files of version 0."""
INDEX = Schema("blob index", (_VERSION_1,), code="blob.disk", newer_code="blob.disk", synchronous="OFF")


class Index:
    """The table of blobs; not thread-safe: the store calls it under its lock. Every method raises BlobError (`blob.disk`)."""

    def __init__(self, path: Path, on_disk: Callable[[], dict[str, int]]) -> None:
        """Open `path`, or make it; `on_disk` lists the blobs that are really there, with their sizes."""
        self._path = path
        self._on_disk = on_disk
        try:
            self._open()
        except (EdgeError, sqlite3.Error) as error:
            self._rebuild(error)

    def _open(self) -> None:
        db = self._db = open_database(self._path, INDEX)
        try:
            self._reconcile()
            self._clock = int(db.execute("SELECT COALESCE(MAX(used), 0) FROM blobs").fetchone()[0])
        except (OSError, sqlite3.Error):
            db.close()
            raise

    def _reconcile(self) -> None:
        disk = self._on_disk()
        known = {str(cid): int(size) for cid, size in self._db.execute("SELECT cid, size FROM blobs")}
        gone = [(c,) for c, size in known.items() if disk.get(c) != size]
        new = [(c, size) for c, size in disk.items() if known.get(c) != size]
        with transaction(self._db):
            self._db.executemany("DELETE FROM blobs WHERE cid = ?", gone)
            self._db.executemany("INSERT INTO blobs (cid, size, used) VALUES (?, ?, 0)", new)

    def _rebuild(self, error: Exception) -> None:
        logger.warning("the blob index cannot be used; rebuilding it from the files: %s", error)
        try:
            remove(self._path)
            self._open()
        except (EdgeError, OSError, sqlite3.Error) as again:
            raise index_error(again) from again

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._db)
        except sqlite3.Error as error:
            self._db.close()
            self._rebuild(error)
        try:
            return work(self._db)
        except sqlite3.Error as error:
            raise index_error(error) from error

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
            with transaction(db):
                db.executemany("UPDATE blobs SET used = ? WHERE cid = ?", rows)

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
