"""The database: SQLite by default, PostgreSQL by URL. Every start upgrades the schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from agent.errors import ConfigError, Unreachable

MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""The timeouts after which libpq gives up on a silent PostgreSQL: in seconds, the last in ms. The URL overrides them."""


def open_database(url: str) -> Engine:
    """The engine, with the schema upgraded.

    Raises ConfigError for a bad URL and for a database that is damaged or has a newer version; Unreachable when the
    database does not answer.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as e:
        raise ConfigError("invalid database URL", hint="write for example sqlite:////var/lib/edge-sink/sink.db") from e
    if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(
            parsed, pool_pre_ping=True, pool_size=10, max_overflow=10, connect_args=_patience(parsed)
        )
    except (NoSuchModuleError, ModuleNotFoundError) as e:
        raise ConfigError(
            f"no driver for this database: {e}",
            hint="use SQLite, or PostgreSQL with its extra: pip install 'edge-agent[sink,postgres]'",
        ) from e
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, parsed.database)
    try:
        upgrade(engine)
    except OperationalError as e:
        raise Unreachable(f"cannot open the database: {str(e.orig).strip()}", code="sink.database") from e
    except DatabaseError as e:
        damaged = parsed.get_backend_name() == "sqlite"
        raise ConfigError(
            f"{'the database file is damaged or invalid' if damaged else 'cannot use the database'}: {str(e.orig).strip()}",
            hint="restore a copy of it, or move it away to start with an empty database"
            if damaged
            else "check the permissions of the database user",
            code="sink.database",
        ) from e
    except CommandError as e:
        raise ConfigError(
            f"the database was written by a newer version of the sink: {e}",
            hint="install the newer version; the database is unchanged",
            code="sink.database",
        ) from e
    return engine


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run the missing migrations up to `revision`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def _patience(url: URL) -> dict[str, int]:
    if url.get_backend_name() != "postgresql":
        return {}
    return {name: value for name, value in PATIENCE.items() if name not in url.query}


def _prepare_sqlite(engine: Engine, path: str | None) -> None:
    if path:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))

    @event.listens_for(engine, "connect")
    def connected(dbapi: Any, _record: Any) -> None:
        # Python's sqlite3 would begin transactions by itself, too late for the lock in `begun`.
        dbapi.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            dbapi.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        # A reader that starts to write cannot wait for another writer and fails, so writers lock first.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
