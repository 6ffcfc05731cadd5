"""An uplink whose disk is full: nothing is lost by it, and what waited goes on when there is room again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.errors import Refused
from agent.steps.alerts import NEVER
from agent.uplink import EgressLedger
from agent.uplink.spool import Spool
from tests.sink.running import Building, running_sink
from tests.support import eventually
from tests.uplink.helpers import running_uplink


def give(db: sqlite3.Connection, pages: int) -> None:
    """Let the database have so many pages, or those that it has: for more, SQLite says that the disk is full."""
    db.execute(f"PRAGMA max_page_count = {pages}")


async def test_an_alert_is_refused_for_now(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        give(uplink._spool._db, 1)
        alert = building.alert(1)
        with pytest.raises(Refused, match="disk is full") as refused:
            await uplink.submit(alert)
        assert refused.value.code == "uplink.disk"
        assert refused.value.code not in NEVER
        give(uplink._spool._db, 1000)
        await uplink.submit(alert)
        await eventually(lambda: seen.delivered == [alert.event.id])


async def test_an_alert_sent_on_a_full_disk_is_not_sent_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        spool, alerts = uplink._spool, [building.alert(n) for n in range(3)]
        await sink.stop()
        for alert in alerts[:2]:
            await uplink.submit(alert)
        spool._db.execute("PRAGMA query_only = 1")  # SQLite writes nothing
        async with running_sink(tmp_path / "sink", port=sink.port):
            await eventually(lambda: sorted(seen.delivered) == sorted(a.event.id for a in alerts[:2]), 20)
            await eventually(lambda: spool.next() is None)
            spool._db.execute("PRAGMA query_only = 0")
            await uplink.submit(alerts[2])
            await eventually(lambda: alerts[2].event.id in seen.delivered)
            await eventually(lambda: spool.usage()[0] == 0)
            stored = [r for a in alerts for r in uplink.ledger.of_event(a.event.id) if r.result == "HTTP 200"]
            assert len(stored) == 3
    assert caplog.text.count("the spool of the uplink cannot be written") == 1


def test_a_spool_that_was_full_has_room_as_soon_as_the_disk_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", max_bytes=100)
    spool.add("a", b"x" * 100)
    spool._db.execute("PRAGMA query_only = 1")
    spool.settle("a", "delivered")
    spool._db.execute("PRAGMA query_only = 0")
    assert spool.add("b", b"x" * 100) is None
    spool._db.execute("PRAGMA query_only = 1")
    spool.settle("b", "refused", "no")
    spool._db.execute("PRAGMA query_only = 0")
    spool.close()
    again = Spool(tmp_path / "spool.db")
    assert [(s.id, s.state) for s in again.settled()] == [("a", "delivered"), ("b", "refused")]
    again.close()


def test_a_failed_alert_lets_others_pass_on_a_full_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    for ident in ("a", "b"):
        spool.add(ident, b"x")
    spool._db.execute("PRAGMA query_only = 1")
    order = []
    for _ in range(4):
        item = spool.next()
        assert item is not None
        order.append((item.id, item.attempts))
        spool.failed(item.id, "500")
    spool._db.execute("PRAGMA query_only = 0")
    item = spool.next()
    assert item is not None
    assert [*order, (item.id, item.attempts)] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]
    spool.close()


def test_rows_of_the_ledger_wait_for_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = EgressLedger(tmp_path / "egress.db")
    give(ledger._db, 1)
    for n in range(300):
        ledger.add(kind="alert", event_id=f"e{n}", sink="https://s", up=100, down=10, result="x" * 200)
        if n % 100 == 50:
            assert len(ledger.rows()) < n
    assert ledger.totals()["all"]["requests"] == 300
    give(ledger._db, 1000)
    assert [r.event_id for r in ledger.rows()] == [f"e{n}" for n in range(300)]
    assert caplog.text.count("the egress ledger cannot be written") == 1
    ledger.close()
    again = EgressLedger(tmp_path / "egress.db")
    assert again.totals()["all"]["requests"] == 300
    again.close()


def test_rows_that_wait_for_long_are_folded_and_keep_their_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.uplink.ledger.MAX_WAITING", 10)
    ledger = EgressLedger(tmp_path / "egress.db")
    give(ledger._db, 1)
    for n in range(100):
        ledger.add(kind="alert", event_id=f"e{n}", sink="https://s", up=100 + n, down=10, result="x" * 200)
        ledger.rows()
        assert len(ledger._pending) <= 11
    give(ledger._db, 1000)
    rows = ledger.rows()
    assert ([r.kind for r in rows].count("folded"), rows[-1].event_id) == (1, "e99")
    assert (sum(r.up for r in rows), sum(r.down for r in rows)) == (sum(range(100, 200)), 1000)
    ledger.close()
