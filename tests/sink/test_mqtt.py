"""Uplink → a real Mosquitto → sink, and back: only the sink's own answer counts as delivery."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from paho.mqtt import publish

from agent.errors import ConfigError, IdentityError, SinkError
from agent.uplink.address import parse_address
from agent.uplink.ledger import EgressLedger
from agent.uplink.mqtt import MqttClient
from agent.uplink.outcome import Verdict
from cloud_sink.ingest.mqtt import parse_broker
from tests.sink.broker import PASSWORD, Broker, mosquitto
from tests.sink.running import Building, running_sink, unsigned
from tests.support import eventually
from tests.uplink.helpers import KEY, running_uplink


def options(broker: Broker, folder: Path, *, tls: bool = False) -> tuple[str, ...]:
    password = folder / "broker.password"
    password.write_text(PASSWORD)
    return ("--mqtt", line(broker, tls=tls), "--mqtt-password-file", str(password))


def line(broker: Broker, *, tls: bool = False) -> str:
    return (
        f"mqtts://edge@127.0.0.1:{broker.tls}#sha256={broker.pin}" if tls else f"mqtt://edge@127.0.0.1:{broker.plain}"
    )


def stored(data: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(data / "sink.db") as db:
        rows = db.execute("SELECT event_id, via FROM alerts ORDER BY seq").fetchall()
    db.close()
    return rows


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_alerts_over_a_broker_are_stored_once_and_acknowledged(tmp_path: Path, tls: bool) -> None:
    building = Building()
    async with (
        mosquitto(tmp_path / "mq") as broker,
        running_sink(tmp_path / "sink", *options(broker, tmp_path, tls=tls)) as sink,
        running_uplink(tmp_path / "up", building) as (uplink, seen),
    ):
        await eventually(lambda: "taking alerts from the broker" in sink.log.read_text())
        await uplink.connect(line(broker, tls=tls), sink.key, PASSWORD)
        alerts = [unsigned(building.mesh, building.node, n) for n in range(3)]
        for alert in [*alerts, alerts[0]]:
            await uplink.submit(alert)
        await eventually(lambda: set(seen.delivered) == {a.event.id for a in alerts})
        assert stored(tmp_path / "sink") == [(a.event.id, "mqtt") for a in alerts]
        bad = unsigned(building.mesh, building.node, "bad", photo=b"no photo")
        await uplink.submit(bad)
        await eventually(lambda: [e for e, _ in seen.refused] == [bad.event.id])
        rows = uplink.ledger.of_event(alerts[0].event.id)
        assert rows[0].up > 3000
        assert rows[0].down > 50


async def test_brokers_acknowledgement_alone_is_not_enough(tmp_path: Path) -> None:
    """Without a sink behind the broker no alert counts as delivered; with a sink it does."""
    building = Building()
    async with (
        mosquitto(tmp_path / "mq") as broker,
        running_uplink(tmp_path / "up", building, answer_timeout=0.5) as (uplink, seen),
    ):
        async with running_sink(tmp_path / "sink", *options(broker, tmp_path)) as sink:
            await eventually(lambda: "taking alerts from the broker" in sink.log.read_text())
            await uplink.connect(line(broker), sink.key, PASSWORD)
        alert = unsigned(building.mesh, building.node, 1)
        await uplink.submit(alert)
        await eventually(lambda: "no answer from the sink" in uplink.state()["last_error"])
        assert seen.delivered == []
        async with running_sink(tmp_path / "sink", *options(broker, tmp_path)):
            await eventually(lambda: seen.delivered == [alert.event.id], timeout=20)


async def test_forged_messages_are_neither_stored_nor_answered(tmp_path: Path) -> None:
    building = Building()
    async with (
        mosquitto(tmp_path / "mq") as broker,
        running_sink(tmp_path / "sink", *options(broker, tmp_path)) as sink,
        running_uplink(tmp_path / "up", building) as (uplink, _),
    ):
        await eventually(lambda: "taking alerts from the broker" in sink.log.read_text())
        ledger = EgressLedger(tmp_path / "ledger.db")
        stranger = MqttClient(parse_address(line(broker)), KEY, PASSWORD, "m", "n", ledger, answer_timeout=0.5)
        assert (await stranger.send("hello", b"x")).verdict is Verdict.DOWN
        await stranger.aclose()
        ledger.close()
        auth = {"username": "edge", "password": PASSWORD}
        publish.single(
            f"edge/{building.mesh}/alert", b"garbage", qos=1, hostname="127.0.0.1", port=broker.plain, auth=auth
        )
        await eventually(lambda: sink.log.read_text().count("dropped a message") == 2)
        assert stored(tmp_path / "sink") == []
        with pytest.raises(IdentityError):
            await uplink.connect(line(broker), sink.key, "wrong password")


async def test_broker_with_another_certificate_gets_no_data(tmp_path: Path) -> None:
    building = Building()
    async with mosquitto(tmp_path / "mq") as broker, running_uplink(tmp_path / "up", building) as (uplink, _):
        with pytest.raises(SinkError) as e:
            await uplink.connect(f"mqtts://edge@127.0.0.1:{broker.tls}#sha256={'0' * 64}", KEY, PASSWORD)
        assert e.value.code == "sink.pin"
        assert "edge" not in (tmp_path / "mq" / "log").read_text().replace("edge-sink", "")


@pytest.mark.parametrize(
    "text", ["http://x", "mqtt://u:p@x", "mqtts://x#sha256=12", "mqtt://x#sha256=" + "0" * 64, "mqtt://"]
)
def test_wrong_broker_url_is_an_error_at_the_start(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_broker(text)
