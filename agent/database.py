"""SQLite under the journal: one writer thread, group commit, synchronous=FULL.

Writers hand in functions; all that wait are run in one transaction and each future resolves after the commit, so a
thousand events a second cost few fsyncs and nothing is answered before it is on the disk.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.errors import EdgeError

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
MAX_GROUP = 512
"""Most writes in one transaction, so that the first of them does not wait long for the last."""

SCHEMA = """
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

Write = Callable[[sqlite3.Connection], Any]


class Storage:
    """The journal's file. `write` is for the loop's thread; `read` runs in the caller's own thread on its own connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[tuple[Write, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._read: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failed: Exception | None = None
        """Why nothing more can be written."""
        self.broken = asyncio.Event()

    def open(self) -> sqlite3.Connection:
        """A connection, with the schema made where it is missing.

        Raises EdgeError: `journal.version` for a journal of a newer agent, `journal.open` for a file that cannot be used.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as e:
            raise unusable(self.path, e) from None
        try:
            return self._prepared(db)
        except (OSError, sqlite3.Error) as e:
            db.close()
            raise unusable(self.path, e) from None

    def _prepared(self, db: sqlite3.Connection) -> sqlite3.Connection:
        self.path.chmod(0o600)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA busy_timeout=5000")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            db.close()
            raise EdgeError(
                f"{self.path} was written by another version of the agent (format {version}, this one reads {SCHEMA_VERSION})",
                hint="install the newer agent again, or move the file away to start with an empty journal",
                code="journal.version",
            )
        return db

    def open_reader(self) -> sqlite3.Connection:
        """Open the connection that `query` uses; `stop` closes it. Raises EdgeError as `open` does."""
        self._read = self.open()
        return self._read

    def query(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a small read-only query. Raises EdgeError `journal.open` for a damaged file."""
        assert self._read is not None
        try:
            return self._read.execute(sql, args).fetchall()
        except sqlite3.Error as e:
            raise unusable(self.path, e) from None

    def start(self) -> None:
        """Start the writer; the running loop gets the answers."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what was handed in and stop."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._read is not None:
            self._read.close()
            self._read = None

    def write(self, fn: Write) -> asyncio.Future[Any]:
        """Run `fn` in the next transaction; the future resolves after its commit. Order of calls is order of effects."""
        assert self._loop is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.failed is not None:
            future.set_exception(_broken(self.failed))
            future.exception()  # nobody need be waiting: the journal's own health tells
        else:
            self._queue.put((fn, future))
        return future

    def _run(self) -> None:
        try:
            db = self.open()
        except EdgeError as e:
            log.critical("%s", e)
            self._broke(e)
            db = sqlite3.connect(":memory:")  # every write to it fails, as it should
        try:
            while (first := self._queue.get()) is not None:
                group, more = [first], True
                while more and len(group) < MAX_GROUP:
                    try:
                        item = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if item is None:
                        self._queue.put(None)
                        more = False
                    else:
                        group.append(item)
                self._commit(db, group)
        finally:
            db.close()

    def _broke(self, error: Exception) -> None:
        if self.failed is None:
            self.failed = error
            self._tell(self.broken.set)

    def _commit(self, db: sqlite3.Connection, group: list[tuple[Write, asyncio.Future[Any]]]) -> None:
        results: list[Any] = []
        error: Exception | None = None
        try:
            if self.failed is not None:
                raise self.failed
            db.execute("BEGIN IMMEDIATE")
            results = [fn(db) for fn, _ in group]
            db.execute("COMMIT")
        except Exception as e:
            # Memory and disk would differ from here on, so nothing more is accepted: a restart goes on from the disk.
            log.critical("the journal %s cannot be written: %s", self.path, e, exc_info=self.failed is None)
            self._broke(e)
            error = self.failed
            if db.in_transaction:
                db.execute("ROLLBACK")
        self._tell(_resolve, [f for _, f in group], results, error)

    def _tell(self, fn: Callable[..., Any], *args: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            log.debug("the loop has ended before the journal")

    async def failing(self) -> None:
        """Wait until nothing more can be written, then raise why (EdgeError `journal.write`)."""
        await self.broken.wait()
        assert self.failed is not None
        raise _broken(self.failed)


def _resolve(futures: list[asyncio.Future[Any]], results: list[Any], error: Exception | None) -> None:
    for i, future in enumerate(futures):
        if future.done():
            continue
        if error is not None:
            future.set_exception(_broken(error))
            future.exception()  # nobody need be waiting: the journal's own health tells
        else:
            future.set_result(results[i])


def unusable(path: Path, error: Exception) -> EdgeError:
    """The error for a journal that cannot be opened or read."""
    return EdgeError(
        f"the journal {path} cannot be used: {error}",
        hint="check the disk and the file's owner; a damaged journal can be moved away to start with an empty one",
        code="journal.open",
    )


def _broken(error: Exception) -> EdgeError:
    return EdgeError(
        f"the journal cannot be written: {error}",
        hint="check the disk (full? read-only?) and restart the agent",
        code="journal.write",
    )
