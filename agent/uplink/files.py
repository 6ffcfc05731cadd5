"""Files that only this agent reads: 0600 from their first byte on, written whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path


def private_database(path: Path) -> sqlite3.Connection:
    """Open or make a SQLite file that survives a power cut at any commit (WAL, synchronous=FULL), for use from any
    thread.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, check_same_thread=False, timeout=10.0)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    return db
