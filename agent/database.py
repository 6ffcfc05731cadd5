"""The agent's SQLite files: opening one with its migrations, and one writer thread with group commit.

Every file is its owner's alone (mode 0600 in a folder of mode 0700) and uses a write-ahead log. Its version is SQLite's
`user_version`. Connections are in autocommit mode and may be used from any thread; `transaction` makes several statements one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.errors import EdgeError
from agent.memory import give_back

log = logging.getLogger(__name__)

BUSY = 10.0
"""Seconds that a statement waits for another connection's lock."""
MAX_GROUP = 512
"""Most writes in one transaction, so that the first of them does not wait long for the last."""
SUFFIXES = ("-wal", "-shm", "")
"""SQLite's files for one database: the log, the log's index, the database."""

Migration = str | Callable[[sqlite3.Connection], None]
"""A script of SQL statements, or a function; it runs inside a transaction and begins and ends none."""
Write = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of file."""

    name: str
    """The file's name in messages, such as "journal"."""
    migrations: tuple[Migration, ...]
    """The first makes version 1 in an empty file, the n-th makes version n from version n - 1. Never edited once released."""
    code: str
    """Error code for a file that cannot be used."""
    newer_code: str
    """Error code for a file that a newer agent wrote."""
    hint: str = ""
    """Hint for a file that cannot be used; empty: one that fits the error."""
    synchronous: Literal["FULL", "OFF"] = "FULL"
    """FULL: a commit survives a power cut. OFF: for a file that can be made again."""


class Unusable(EdgeError):
    """A file cannot be opened or read; `damaged`: it is not, or no longer, a SQLite file."""

    def __init__(self, schema: Schema, path: Path, error: Exception) -> None:
        # A full disk, a lock and a missing table are OperationalErrors, a subclass.
        self.damaged = type(error) is sqlite3.DatabaseError
        hint = "move it away to start with an empty one" if self.damaged else "check the disk and the file's owner"
        super().__init__(
            f"the {schema.name} {path} cannot be used: {error}", hint=schema.hint or hint, code=schema.code
        )


def open_database(path: Path, schema: Schema) -> sqlite3.Connection:
    """Open or make a file, and bring it to the newest version; damage deep inside shows only when it is read.

    Raises Unusable, and EdgeError (`schema.newer_code`) for a file of a newer agent, which stays as it is.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a new file is opened by hand: closing it would drop the locks of this process's other connections.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY)
    except (OSError, sqlite3.Error) as e:
        raise Unusable(schema, path, e) from e
    try:
        path.chmod(0o600)
        version, newest = _version(db), len(schema.migrations)
        if not 0 <= version <= newest:
            raise _newer(schema, path, version)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={schema.synchronous}")
        for number in range(version + 1, newest + 1):
            _migrate(db, number, schema.migrations[number - 1])
    except (OSError, sqlite3.Error) as e:
        db.close()
        raise Unusable(schema, path, e) from e
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection, number: int, migration: Migration) -> None:
    """Make version `number` in one transaction, unless another connection was faster."""
    with transaction(db):
        if _version(db) >= number:
            return
        if isinstance(migration, str):
            for statement in _statements(migration):
                db.execute(statement)
        else:
            migration(db)
        db.execute(f"PRAGMA user_version={number}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script. `executescript` would commit first."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All statements of the block are committed, or none; raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def move_aside(path: Path, schema: Schema) -> Path:
    """Rename a damaged file, and its log, which SQLite would apply to the next file; returns the new path.

    Raises Unusable.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        for suffix in SUFFIXES:
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    except OSError as e:
        raise Unusable(schema, path, e) from e
    return aside


def remove(path: Path) -> None:
    """Delete a file and its log; raises OSError."""
    for suffix in SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _newer(schema: Schema, path: Path, version: int) -> EdgeError:
    return EdgeError(
        f"{path} was written by another version of the agent "
        f"(format {version}, this one reads {len(schema.migrations)})",
        hint=f"install the newer agent again, or move the file away to start with an empty {schema.name}",
        code=schema.newer_code,
    )


class Storage:
    """The journal's file. Writes are functions: all that wait run in one transaction, and each future resolves after its
    commit. So thousands of events a second cost few fsyncs, and no answer is sent before its event is on the disk.

    `write` is for the loop's thread; a reader's connection is for the thread that reads.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.schema = schema
        self._queue: queue.SimpleQueue[tuple[Write, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._read: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failed: Exception | None = None
        """Why nothing more can be written."""
        self.broken = asyncio.Event()

    def open(self) -> sqlite3.Connection:
        """A new connection; raises EdgeError as `open_database` does."""
        return open_database(self.path, self.schema)

    def open_reader(self) -> sqlite3.Connection:
        """Open the connection that `query` uses; `stop` closes it. Raises EdgeError as `open` does."""
        self._read = self.open()
        return self._read

    def query(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a small read-only query. Raises Unusable for a damaged file."""
        assert self._read is not None
        try:
            return self._read.execute(sql, args).fetchall()
        except sqlite3.Error as e:
            raise Unusable(self.schema, self.path, e) from None

    def shrink(self) -> asyncio.Future[Any]:
        """Give back the memory of pages that SQLite keeps, up to 2 MB for each connection. Resolves when the writer has done so."""
        if self._read is not None:
            self._read.execute("PRAGMA shrink_memory")
        return self.write(_shrink)

    def start(self) -> None:
        """Start the writer; the running loop gets the answers."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the writes that were handed in, and stop."""
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
            future.exception()  # perhaps no caller waits for it: `failing` reports it too
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
            while group := self._group():
                self._commit(db, group)
                del group  # while the next write is waited for, the last writes must not keep what they wrote in memory
        finally:
            db.close()

    def _group(self) -> list[tuple[Write, asyncio.Future[Any]]]:
        """Wait for a write; returns it with all that wait already, in their order; nothing once `stop` was called."""
        group = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == MAX_GROUP:
                return group
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group
        if group:
            self._queue.put(None)
        return group

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
            with transaction(db):
                results = [fn(db) for fn, _ in group]
        except Exception as e:
            # Memory and disk would differ from here on, so nothing more is accepted: a restart goes on from the disk.
            log.critical("the journal %s cannot be written: %s", self.path, e, exc_info=self.failed is None)
            self._broke(e)
            error = self.failed
        self._tell(_resolve, [f for _, f in group], results, error)

    def _tell(self, fn: Callable[..., Any], *args: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:
            log.debug("the loop has ended before the journal")

    async def failing(self) -> None:
        """Wait until nothing more can be written, then raise the cause (EdgeError `journal.write`)."""
        await self.broken.wait()
        assert self.failed is not None
        raise _broken(self.failed)


def _shrink(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA shrink_memory")
    give_back()


def _resolve(futures: list[asyncio.Future[Any]], results: list[Any], error: Exception | None) -> None:
    for i, future in enumerate(futures):
        if future.done():
            continue
        if error is not None:
            future.set_exception(_broken(error))
            future.exception()  # perhaps no caller waits for it: `failing` reports it too
        else:
            future.set_result(results[i])


def _broken(error: Exception) -> EdgeError:
    return EdgeError(
        f"the journal cannot be written: {error}",
        hint="check whether the disk is full or read-only, then restart the agent",
        code="journal.write",
    )
