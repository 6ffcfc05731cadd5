"""Files that only this agent reads: 0600 from their first byte on, written whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from agent.errors import EdgeError


class Unusable(EdgeError):
    """A database cannot be opened; `damaged` where it is no whole SQLite file."""

    code = "uplink.open"

    def __init__(self, path: Path, error: OSError | sqlite3.Error) -> None:
        # The others, a full disk for example, are OperationalErrors.
        self.damaged = type(error) is sqlite3.DatabaseError
        hint = "move it away to start with an empty one" if self.damaged else "see the disk and the file's owner"
        super().__init__(f"{path} cannot be used: {error}", hint=hint)


def private_database(path: Path, schema: str) -> sqlite3.Connection:
    """Open or make a SQLite file that survives a power cut at any commit (WAL, synchronous=FULL), for use from any
    thread. Raises Unusable; what is damaged deep inside shows only when it is read.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, check_same_thread=False, timeout=10.0)
    except (OSError, sqlite3.Error) as e:
        raise Unusable(path, e) from e
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(schema)
    except sqlite3.Error as e:
        db.close()
        raise Unusable(path, e) from e
    return db


def move_aside(path: Path) -> Path:
    """Give a damaged database another name, and its log too, which would be taken for that of the next one; returns it.

    Raises Unusable.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
    except OSError as e:
        raise Unusable(path, e) from e
    return aside
