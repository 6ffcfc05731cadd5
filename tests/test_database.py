"""SQLite files: private, brought to the newest version step by step, refused with a way out where they cannot be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import weakref
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.database import Migration, Schema, Storage, Unusable, open_database, transaction
from agent.errors import EdgeError
from tests.support import eventually


def schema(*migrations: Migration, hint: str = "") -> Schema:
    return Schema("box", migrations, code="box.open", newer_code="box.version", hint=hint)


def fill(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO a VALUES (7)")


ONE, TWO, THREE = (
    "CREATE TABLE a (x INTEGER);",
    fill,
    "ALTER TABLE a ADD COLUMN y TEXT DEFAULT 'new'; CREATE INDEX ax ON a (x);",
)


def dump(path: Path) -> tuple[int, list[str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0], list(db.iterdump())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "box.db"


@pytest.mark.parametrize("there", [False, True])
def test_a_file_and_its_folder_are_for_the_owner_alone(path: Path, there: bool) -> None:
    if there:
        path.parent.mkdir(mode=0o700)
        path.touch(mode=0o644)
    with closing(open_database(path, schema(ONE))) as db:
        db.execute("INSERT INTO a VALUES (1)")
        assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_a_file_of_each_version_becomes_the_newest(path: Path, start: int) -> None:
    with closing(open_database(path, schema(*(ONE, TWO, THREE)[:start]))) as db:
        if start:
            db.execute("INSERT INTO a (x) VALUES (42)")
    with closing(open_database(path, schema(ONE, TWO, THREE))) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert set(db.execute("SELECT x, y FROM a")) == ({(42, "new")} if start else set()) | {(7, "new")}
    before = dump(path)
    open_database(path, schema(ONE, TWO, THREE)).close()
    assert dump(path) == before


_step = st.sampled_from(["table", "column", "rows", "index"])


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(_step, max_size=8), stops=st.sets(st.integers(0, 8)))
def test_any_way_through_the_versions_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], stops: set[int]
) -> None:
    migrations: list[Migration] = ["CREATE TABLE t (c INTEGER)"]
    for n, step in enumerate(steps):
        migrations.append(
            {
                "table": f"CREATE TABLE t{n} (c INTEGER);",
                "column": f"ALTER TABLE t ADD COLUMN c{n} INTEGER NOT NULL DEFAULT {n};",
                "rows": f"INSERT INTO t (c) VALUES ({n}); INSERT INTO t (c) SELECT c + 1 FROM t",
                "index": f"CREATE INDEX i{n} ON t (c);",
            }[step]
        )
    folder = tmp_path_factory.mktemp("ways")
    for stop in sorted(stops):
        open_database(folder / "slow.db", schema(*migrations[:stop])).close()
    for name in ("slow.db", "fast.db"):
        open_database(folder / name, schema(*migrations)).close()
    assert dump(folder / "slow.db") == dump(folder / "fast.db")


@pytest.mark.parametrize(
    "broken", ["INSERT INTO a VALUES (1); INSERT INTO nothing VALUES (1);", lambda db: (fill(db), 1 / 0)]
)
def test_a_migration_that_fails_leaves_nothing_behind(path: Path, broken: Migration) -> None:
    with pytest.raises((Unusable, ZeroDivisionError)):
        open_database(path, schema(ONE, broken, THREE))
    assert dump(path) == (1, ["BEGIN TRANSACTION;", "CREATE TABLE a (x INTEGER);", "COMMIT;"])
    with closing(open_database(path, schema(ONE, TWO, THREE))) as db:
        assert db.execute("SELECT x, y FROM a").fetchall() == [(7, "new")]


def test_a_death_in_a_migration_leaves_nothing_behind(path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from agent.database import Schema, open_database
def die(db):
    db.executemany("INSERT INTO a VALUES (?)", [(n,) for n in range(100_000)])
    os._exit(9)
open_database(Path({str(path)!r}), Schema("box", ({ONE!r}, die), code="box.open", newer_code="box.version"))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 9
    with closing(open_database(path, schema(ONE, TWO, THREE))) as db:
        assert db.execute("SELECT x, y FROM a").fetchall() == [(7, "new")]


def test_two_that_open_at_once_migrate_once(path: Path) -> None:
    ready, errors = threading.Barrier(4), []

    def work() -> None:
        ready.wait()
        try:
            open_database(path, schema(ONE, TWO, THREE)).close()
        except EdgeError as e:
            errors.append(e)

    open_database(path, schema()).close()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT x, y FROM a").fetchall() == [(7, "new")]


@pytest.mark.parametrize("version", [2, 99, -1])
def test_a_file_of_a_newer_agent_is_left_alone(path: Path, version: int) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:  # with a journal mode that this agent does not use
        db.execute(f"PRAGMA user_version={version}")
    before = path.read_bytes()
    with pytest.raises(EdgeError, match=f"format {version}, this one reads 1") as caught:
        open_database(path, schema(ONE))
    assert caught.value.code == "box.version"
    assert "newer agent" in caught.value.hint
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("what", "damaged"), [("bytes", True), ("folder", False), ("no folder", False), ("table", False)]
)
def test_a_file_that_cannot_be_used_is_named_with_a_way_out(path: Path, what: str, damaged: bool) -> None:
    if what == "no folder":
        path.parent.write_text("")
    else:
        path.parent.mkdir()
    if what == "folder":
        path.mkdir()
    elif what == "bytes":
        path.write_bytes(b"not a database, but long enough to be read" * 100)
    elif what == "table":
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE a (of TEXT)")
    with pytest.raises(Unusable, match=str(path)) as caught:
        open_database(path, schema(ONE))
    assert caught.value.code == "box.open"
    assert caught.value.damaged == damaged
    assert ("move it away" in caught.value.hint) == damaged
    with pytest.raises(Unusable) as caught:
        open_database(path, schema(ONE, hint="call the plumber"))
    assert caught.value.hint == "call the plumber"


def test_a_script_may_have_triggers_texts_and_comments(path: Path) -> None:
    script = """
    CREATE TABLE a (x TEXT); -- a comment; with a semicolon
    /* another; one */
    CREATE TRIGGER t AFTER INSERT ON a BEGIN
        INSERT INTO b VALUES (new.x || ';');
        DELETE FROM b WHERE x = '';
    END;
    CREATE TABLE b (x TEXT);
    INSERT INTO a VALUES ('one;two')"""
    with closing(open_database(path, schema(script))) as db:
        assert db.execute("SELECT x FROM b").fetchall() == [("one;two;",)]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_a_transaction_that_fails_changes_nothing(path: Path, error: type[BaseException]) -> None:
    with closing(open_database(path, schema(ONE))) as db:
        with pytest.raises(error), transaction(db):
            fill(db)
            raise error
        assert not db.in_transaction
        with transaction(db):
            fill(db)
        assert db.execute("SELECT x FROM a").fetchall() == [(7,)]


def test_a_second_opening_keeps_the_locks_of_the_first(path: Path) -> None:
    """POSIX locks of a process end when it closes any descriptor of the file: another process could drop the log then."""
    program = f"import sqlite3; print(*sqlite3.connect({str(path)!r}, timeout=0).execute('PRAGMA journal_mode=DELETE').fetchone())"
    with closing(open_database(path, schema(ONE))) as db:
        fill(db)
        open_database(path, schema(ONE)).close()
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
        assert "locked" in other.stderr
        assert db.execute("SELECT x FROM a").fetchall() == [(7,)]


def test_a_file_on_a_disk_that_is_full_is_not_called_damaged(path: Path) -> None:
    open_database(path, schema(ONE)).close()

    def full(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
        db.execute("CREATE TABLE b (x TEXT)")

    with pytest.raises(Unusable, match="full") as caught:
        open_database(path, schema(ONE, full))
    assert not caught.value.damaged
    assert dump(path)[0] == 1


class Value:
    """Something that a write holds."""

    def write(self, db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO a VALUES (1)")


async def test_a_write_that_is_done_is_not_held_in_memory(path: Path) -> None:
    storage = Storage(path, schema(ONE))
    storage.start()
    value = Value()
    held = weakref.ref(value)
    await storage.write(value.write)
    del value
    await eventually(lambda: held() is None)
    storage.stop()
