"""An uplink whose disk is full: nothing is lost by it, and what waited goes on when there is room again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.errors import Refused
from agent.pipelines.work import NEVER
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
