"""Migrations from the first version on, and the same sink on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.orm import Session

from agent.errors import ConfigError, Unreachable
from agent.model.alert import StatusSummary
from cloud_sink.clock import now_ms
from cloud_sink.notify import Notices, Troubles
from cloud_sink.notify.troubles import USUAL
from cloud_sink.store import Access, Alerts, open_database
from cloud_sink.store import alerts as alerts_module
from cloud_sink.store.alerts import StoredPhoto
from cloud_sink.store.models import Base
from tests.sink.broker import free_port
from tests.sink.running import Building, calling_sink, encode

BIN = Path("/usr/lib/postgresql/15/bin")
needs_postgresql = pytest.mark.skipif(not (BIN / "initdb").exists(), reason="PostgreSQL 15 is not installed")
FIRST = Path(__file__).parent / "data" / "0001.sql"


def test_database_of_the_first_version_keeps_all_its_data(tmp_path: Path) -> None:
    path = tmp_path / "sink.db"
    with sqlite3.connect(path) as db:
        db.executescript(FIRST.read_text())
    db.close()
    engine = open_database(f"sqlite:///{path}")
    alerts = Alerts(engine)
    [(mesh, root, newest)] = alerts.incidents()
    [alert] = alerts.incident(mesh, root)
    assert (alert.seq, alert.camera, alert.photos[0].name) == (newest, "porch", "labelled")
    assert alert.event["data"]["labels"][0]["name"] == "person"
    assert Access(engine).all_keys()[0].name == "Home"
    assert alerts.buildings()[0].warnings[0]["code"] == "camera.silent"
    assert alerts.buildings()[0].every == 900
    with engine.connect() as db:
        assert set(db.exec_driver_sql("SELECT report FROM notices").scalars()) <= {0}
        tables = db.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name IN ('alerts', 'notices')").scalars()
        assert all("AUTOINCREMENT" in sql for sql in tables), "a seq is never given twice"
    engine.dispose()


def test_pruning_counts_alerts_that_free_no_photo(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    alerts = Alerts(engine)
    for n in range(2):
        alerts.add(Building().alert(n), [], size=1, via="https", name="Home", channels=[])
    assert alerts.prune(2**62, limit=1) == (1, [])
    assert alerts.prune(2**62) == (1, [])
    assert alerts.prune(2**62) == (0, [])
    engine.dispose()


def test_migrations_lead_to_the_schema_of_the_models(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "oracle://x/y", "mysql+nodriver://x/y"])
def test_wrong_database_url_is_a_clear_error(url: str) -> None:
    with pytest.raises(ConfigError):
        open_database(url)


def test_damaged_or_newer_database_is_an_error_and_unchanged(tmp_path: Path) -> None:
    damaged, newer = tmp_path / "damaged.db", tmp_path / "newer.db"
    damaged.write_bytes(b"not a database at all " * 500)
    open_database(f"sqlite:///{newer}").dispose()
    with sqlite3.connect(newer) as db:
        db.execute("UPDATE alembic_version SET version_num = 'v9999'")
    db.close()
    for path, words in ((damaged, "damaged"), (newer, "newer version")):
        before = path.read_bytes()
        with pytest.raises(ConfigError, match=words) as caught:
            open_database(f"sqlite:///{path}")
        assert (caught.value.code, bool(caught.value.hint)) == ("sink.database", True)
        assert path.read_bytes() == before


def test_large_incident_reads_oldest_alerts_and_counts_all(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    alerts, building, other = Alerts(engine), Building(), Building("mesh-other")
    large = [building.alert(n, root="r" * 26, camera=f"cam{n}") for n in range(5)]
    for number, alert in enumerate([*large, other.alert(7, root="r" * 26), building.alert(8, root="s" * 26)]):
        alerts.add(alert, [], size=10 ** min(number, 4), via="https", name="Home", channels=[])
    keys = [("mesh-test", "s" * 26), ("mesh-test", "r" * 26), ("mesh-test", "gone")]
    found = alerts.of_incidents(keys, 2)
    assert list(found) == keys
    shown = {root: ([a.camera for a in f.alerts], f.total, f.size) for (_, root), f in found.items()}
    assert shown == {"s" * 26: (["porch"], 1, 10**4), "r" * 26: (["cam0", "cam1"], 5, 11111), "gone": ([], 0, 0)}
    engine.dispose()


def test_old_alerts_are_pruned_with_photos_of_no_other_alert(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    alerts, building = Alerts(engine), Building()
    shared, own = (StoredPhoto("p", "c", letter * 64, 1, 1, 1) for letter in "ab")
    for n, photos in enumerate([[shared, own], [shared]]):
        alerts.add(building.alert(n), photos, size=1, via="https", name="Home", channels=["slack:C"])
    with alerts.write() as s:
        s.connection().exec_driver_sql("UPDATE alerts SET received = 1000 WHERE seq = 1")
    assert alerts.prune(2000) == (1, ["b" * 64])
    assert alerts.count()[0] == 1
    assert alerts.prune(2000) == (0, [])
    engine.dispose()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A separate cluster on loopback, run by the user postgres; yields its URL."""
    port = free_port()
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    user = pwd.getpwnam("postgres" if as_postgres else pwd.getpwuid(os.getuid()).pw_name)
    folder.mkdir(parents=True)
    os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run([*as_postgres, *command], check=True, capture_output=True, cwd="/", timeout=60)

    run(str(BIN / "initdb"), "-D", str(data), "-A", "trust", "-U", "edge", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(str(BIN / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://edge@127.0.0.1:{port}/postgres"
    finally:
        run(str(BIN / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")


def test_postgresql_has_time_limits_unless_its_url_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def connect(*_: object, **arguments: object) -> None:
        asked.append(arguments)
        raise psycopg.OperationalError("nobody there")

    monkeypatch.setattr(psycopg, "connect", connect)
    for query in ("", "?connect_timeout=99&tcp_user_timeout=7"):
        with pytest.raises(Unreachable):
            open_database(f"postgresql://edge@127.0.0.1:1/x{query}")
    assert [int(str(a["connect_timeout"])) for a in asked] == [10, 99]
    assert [int(str(a["tcp_user_timeout"])) for a in asked] == [30_000, 7]
    assert {a["keepalives_idle"] for a in asked} == {30}


def test_server_that_denies_permission_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise psycopg.errors.InsufficientPrivilege("permission denied for schema public")

    monkeypatch.setattr(psycopg, "connect", connect)
    with pytest.raises(ConfigError, match="cannot use the database: permission denied") as caught:
        open_database("postgresql://edge@127.0.0.1:1/x")
    assert "empty database" not in caught.value.hint


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user postgres may enter."""
    folder = Path("/tmp") / f"edge-sink-pg-{os.getpid()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@needs_postgresql
def test_alerts_of_a_building_commit_in_order_on_postgresql(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    building, other, want = Building(), Building("mesh-other"), alerts_module._want
    paused, go, stored = threading.Event(), threading.Event(), dict[int, int | None]()

    def pausing(s: Session, channel: str, mesh: str, root: str, seq: int) -> None:
        if not paused.is_set():
            paused.set()
            assert go.wait(30)
        want(s, channel, mesh, root, seq)

    monkeypatch.setattr(alerts_module, "_want", pausing)
    with postgres(folder) as url, ThreadPoolExecutor(3) as pool:
        engine = open_database(url)
        alerts = Alerts(engine)

        def add(n: int, building: Building = building) -> None:
            alert = building.alert(n, root="r" * 26, camera=f"cam{n}")
            stored[n] = alerts.add(alert, [], size=1, via="https", name="Home", channels=["slack:C"])

        first = pool.submit(add, 1)
        assert paused.wait(30)
        second = pool.submit(add, 2)
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with engine.connect() as db:
            while not second.done() and not db.exec_driver_sql(waiting).scalar():
                db.rollback()
        add(3, other)  # another building does not wait
        assert stored == {3: 2}
        go.set()
        first.result(), second.result()
        with engine.connect() as db:
            assert db.exec_driver_sql("SELECT wanted FROM notices ORDER BY wanted").scalars().all() == [2, 3]
        engine.dispose()
    assert stored == {1: 1, 2: 3, 3: 2}


@needs_postgresql
def test_the_same_sink_on_postgresql(folder: Path) -> None:
    building = Building()
    with postgres(folder) as url, calling_sink(folder / "sink", "--db", url) as sink:
        body = encode(building.alert(1))
        assert sink.post("/v1/alerts", body).json()["stored"] is True
        assert sink.post("/v1/alerts", body).json()["stored"] is False
        assert sink.post("/v1/alerts", encode(building.alert(2))).json()["stored"] is True
        status = StatusSummary(mesh=building.mesh, node="ap", time="1", nodes=[{"name": "ap"}])
        assert sink.post("/v1/status", msgspec.msgpack.encode(status)).status_code == 200
        assert len(json.loads(sink.cli("key", "list", "--db", url, "--json"))) == 1
        sink.http.get("/login/" + sink.facts["login_url"].rsplit("/", 1)[1])
        page = sink.http.get("/").text
        assert page.count("<article") == 2
        assert sink.http.get("/photos/1.jpg").headers["content-type"] == "image/jpeg"
        engine = open_database(url)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        troubles, later = Troubles(engine, USUAL, ["slack:C"], ""), now_ms() + 3_600_000
        assert [troubles.look(later + n) for n in range(3)] == [1, 0, 0]
        notice = Notices(engine).next("slack:C")
        assert notice is not None
        assert notice.report
        Notices(engine).shown(notice.id, "sent", 1, 0)
        assert Notices(engine).wait("slack:C") is None
        engine.dispose()
    with pytest.raises(Unreachable):
        open_database(url)
