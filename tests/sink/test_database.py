"""Migrations from the first version on, and the same sink on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from agent.errors import ConfigError, Unreachable
from agent.model.alert import StatusSummary
from cloud_sink.store import Access, Alerts, open_database
from cloud_sink.store.alerts import StoredPhoto
from cloud_sink.store.models import Base
from tests.sink.broker import free_port
from tests.sink.running import Building, calling_sink, encode

FIRST = Path(__file__).parent / "data" / "0001.sql"
BIN = Path("/usr/lib/postgresql/15/bin")


def test_a_database_of_the_first_version_is_upgraded_with_everything_in_it(tmp_path: Path) -> None:
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
    engine.dispose()


def test_pruning_tells_of_alerts_that_free_no_photo(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    alerts = Alerts(engine)
    for n in range(2):
        alerts.add(Building().alert(n), [], size=1, via="https", name="Home", channels=[])
    assert alerts.prune(2**62, limit=1) == (1, [])
    assert alerts.prune(2**62) == (1, [])
    assert alerts.prune(2**62) == (0, [])
    engine.dispose()


def test_the_migrations_end_where_the_models_are(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'sink.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "oracle://x/y", "mysql+nodriver://x/y"])
def test_a_wrong_database_is_said_plainly(url: str) -> None:
    with pytest.raises(ConfigError):
        open_database(url)


def test_old_alerts_are_pruned_with_the_photos_that_nobody_else_needs(tmp_path: Path) -> None:
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
    """A cluster of its own on loopback, as the user postgres; yields its URL."""
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


@pytest.mark.skipif(not (BIN / "initdb").exists(), reason="PostgreSQL 15 is not installed")
def test_the_same_sink_on_postgresql() -> None:
    building = Building()
    folder = Path("/tmp") / f"edge-sink-pg-{os.getpid()}"  # where the user postgres may go
    try:
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
            engine.dispose()
        with pytest.raises(Unreachable):
            open_database(url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
