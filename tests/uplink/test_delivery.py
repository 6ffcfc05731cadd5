"""A real uplink and a real sink over real TLS: delivered exactly once, despite crashes in between."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from agent.errors import IdentityError, NotFound, Refused, SinkError, Unreachable
from agent.model.alert import StatusSummary
from agent.model.event import now
from agent.uplink.spool import Spool
from tests.sink.running import Building, encode, running_sink, unsigned
from tests.support import eventually
from tests.uplink.helpers import KEY, running_uplink


def stored(data: Path) -> list[str]:
    with sqlite3.connect(data / "sink.db") as db:
        rows = db.execute("SELECT event_id FROM alerts ORDER BY seq").fetchall()
    db.close()
    return [r[0] for r in rows]


def mine(building: Building, n: int | str, **changes: object) -> object:
    return unsigned(building.mesh, building.node, n, **changes)  # type: ignore[arg-type]


async def test_alerts_reach_the_sink_and_are_reported_when_it_has_them(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        alerts = [mine(building, n) for n in range(5)]
        for alert in alerts:
            await uplink.submit(alert)
        await eventually(lambda: len(seen.delivered) == 5)
        assert sorted(seen.delivered) == sorted(a.event.id for a in alerts)
        assert sorted(stored(tmp_path / "sink")) == sorted(seen.delivered)
        assert uplink.state()["connected"]
        assert uplink.state()["waiting"] == 0


async def test_the_time_of_the_last_delivery_is_known(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        assert uplink.state()["last"] == ""
        before = now()
        await uplink.submit(mine(building, 1))
        await eventually(lambda: seen.delivered)
        assert before <= uplink.state()["last"] <= now()


async def test_an_alert_submitted_twice_is_stored_once(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        alert = mine(building, 1)
        await uplink.submit(alert)
        await eventually(lambda: len(seen.delivered) == 1)
        requests = uplink.ledger.totals()["alert"]["requests"]
        await uplink.submit(alert)
        await eventually(lambda: len(seen.delivered) == 2)
        assert uplink.ledger.totals()["alert"]["requests"] == requests
        assert stored(tmp_path / "sink") == [alert.event.id]


async def test_alerts_wait_while_the_sink_is_down(tmp_path: Path) -> None:
    building = Building()
    async with running_uplink(tmp_path / "up", building) as (uplink, seen):
        async with running_sink(tmp_path / "sink") as sink:
            await uplink.connect(sink.connect, sink.key)
            await uplink.submit(mine(building, 0))
            await eventually(lambda: len(seen.delivered) == 1)
        for n in range(1, 4):
            await uplink.submit(mine(building, n))
        await eventually(lambda: not uplink.connected and uplink.state()["last_error"] != "")
        assert uplink.state()["waiting"] == 3
        async with running_sink(tmp_path / "sink", port=sink.port):
            await eventually(lambda: len(seen.delivered) == 4)
        assert len(stored(tmp_path / "sink")) == 4


async def test_a_restart_of_the_uplink_loses_nothing_and_answers_again(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink:
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            await uplink.connect(sink.connect, sink.key)
            await uplink.submit(mine(building, "before"))
            await eventually(lambda: len(seen.delivered) == 1)
        first = seen.delivered[0]
        waiting = building.alert("left behind")
        spool = Spool(tmp_path / "up" / "spool.db")
        spool.add(waiting.event.id, encode(waiting))
        spool.close()
        async with running_uplink(tmp_path / "up", building) as (uplink, seen):
            await eventually(lambda: waiting.event.id in seen.delivered)
            assert seen.delivered[0] == first
        assert stored(tmp_path / "sink") == [first, waiting.event.id]


async def test_a_refused_alert_is_reported_and_delays_no_other(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        bad = mine(building, "bad", photo=b"not a photo")
        good = mine(building, "good")
        await uplink.submit(bad)
        await uplink.submit(good)
        await eventually(lambda: seen.delivered == [good.event.id])
        assert [event for event, _ in seen.refused] == [bad.event.id]
        assert "cannot decode" in seen.refused[0][1]
        await uplink.submit(bad)
        await eventually(lambda: len(seen.refused) == 2)


async def test_a_revoked_key_keeps_the_alerts_and_becomes_a_warning(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        with sqlite3.connect(tmp_path / "sink" / "sink.db") as db:
            db.execute("UPDATE keys SET revoked = 1")
        db.close()
        await uplink.submit(mine(building, 1))
        await eventually(lambda: bool(uplink.warnings()))
        assert uplink.warnings()[0].code == "sink.denied"
        assert uplink.state()["waiting"] == 1
        assert seen.delivered == []
        assert seen.refused == []


async def test_status_reaches_the_sink_and_the_newest_one_wins(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, _):
        await uplink.connect(sink.connect, sink.key)
        nodes = [{"name": "ap", "alive": "true"}]
        await uplink.send_status(StatusSummary(mesh=building.mesh, node=building.node, time="1", nodes=nodes))

        def node_names() -> bool:
            with sqlite3.connect(tmp_path / "sink" / "sink.db") as db:
                found = db.execute("SELECT time FROM buildings").fetchone()
            db.close()
            return found == ("1",)

        await eventually(node_names)
        assert uplink.asked_every == 0.0


async def test_connect_tells_wrong_key_wrong_pin_and_no_sink_apart(tmp_path: Path) -> None:
    building = Building()
    async with running_uplink(tmp_path / "up", building) as (uplink, _):
        async with running_sink(tmp_path / "sink") as sink:
            with pytest.raises(IdentityError, match="does not accept this key"):
                await uplink.connect(sink.connect, KEY)
            with pytest.raises(SinkError) as pin:
                await uplink.connect(f"{sink.url}#sha256={'0' * 64}", sink.key)
            assert pin.value.code == "sink.pin"
            with pytest.raises(IdentityError, match="is not a sink key"):
                await uplink.connect(sink.connect, "hello")
        with pytest.raises(Unreachable):
            await uplink.connect(sink.connect, sink.key)
        assert not uplink.configured
        assert not (tmp_path / "up" / "sink.json").exists()


async def test_without_a_sink_alerts_and_disconnect_are_refused(tmp_path: Path) -> None:
    building = Building()
    async with running_uplink(tmp_path / "up", building) as (uplink, _):
        with pytest.raises(Refused) as refused:
            await uplink.submit(mine(building, 1))
        assert refused.value.code == "uplink.no-sink"
        with pytest.raises(NotFound):
            await uplink.disconnect()


async def test_a_key_for_another_mesh_is_not_taken(tmp_path: Path) -> None:
    async with running_sink(tmp_path / "sink") as sink:
        async with running_uplink(tmp_path / "one", Building("mesh-one")) as (uplink, _):
            await uplink.connect(sink.connect, sink.key)
        async with running_uplink(tmp_path / "two", Building("mesh-two")) as (uplink, _):
            with pytest.raises(IdentityError, match="another mesh"):
                await uplink.connect(sink.connect, sink.key)


async def test_files_are_private_and_the_key_is_in_one_of_them_only(tmp_path: Path) -> None:
    building = Building()
    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):
        await uplink.connect(sink.connect, sink.key)
        await uplink.submit(mine(building, 1))
        await eventually(lambda: len(seen.delivered) == 1)
        key = sink.key.encode()
    holders = []
    for path in (tmp_path / "up").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        if key in path.read_bytes():
            holders.append(path.name)
    assert holders == ["sink.json"]


async def test_the_ledger_counts_every_byte_that_the_kernel_saw(tmp_path: Path) -> None:
    """A relay between uplink and sink counts the same bytes."""
    building = Building()
    counted = [0, 0]

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: int) -> None:
        while data := await reader.read(65536):
            counted[way] += len(data)
            writer.write(data)
        writer.close()

    async with running_sink(tmp_path / "sink") as sink, running_uplink(tmp_path / "up", building) as (uplink, seen):

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            r, w = await asyncio.open_connection("127.0.0.1", sink.port)
            await asyncio.gather(pump(reader, w, 0), pump(r, writer, 1), return_exceptions=True)

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await uplink.connect(f"https://127.0.0.1:{port}#sha256={sink.pin}", sink.key)
        for n in range(3):
            await uplink.submit(mine(building, n))
        await eventually(lambda: len(seen.delivered) == 3)
        total = uplink.ledger.totals()["all"]
        await eventually(
            lambda: [uplink.ledger.totals()["all"]["up"], uplink.ledger.totals()["all"]["down"]] == counted
        )
        rows = uplink.ledger.of_event(seen.delivered[0])
        assert [r.result for r in rows] == ["HTTP 200"]
        assert rows[0].up > 5000
        assert total["up"] > sum(len(encode(building.alert(n))) for n in range(3))
        await uplink.disconnect()
        server.close()
        await server.wait_closed()
