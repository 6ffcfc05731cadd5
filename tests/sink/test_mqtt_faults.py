"""The MQTT ingest alone: a fault costs one message, or is raised to the supervisor."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from paho.mqtt.client import MQTTMessage

from agent.model.alert import MAX_ALERT
from agent.model.envelope import key_digest, seal
from cloud_sink import metrics
from cloud_sink.ingest import Intake
from cloud_sink.ingest.mqtt import Broker, MqttIngest
from cloud_sink.settings import Limits
from cloud_sink.store import Access
from tests.support import eventually

TOPIC = "edge/m/alert"


class FailingAccess:
    """An unreachable database."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def stored_key(self, key_id: str) -> None:
        self.asked.append(key_id)
        raise RuntimeError("the database is gone")


def ingest(access: FailingAccess, host: str = "127.0.0.1") -> MqttIngest:
    broker = Broker(host, 9, tls=False, user="", pin="")
    return MqttIngest(broker, "", cast("Intake", SimpleNamespace()), cast("Access", access), Limits())


def refused(code: str) -> float:
    return metrics.REGISTRY.get_sample_value("edge_sink_refused_total", {"code": code}) or 0.0


def message(topic: bytes, payload: bytes) -> MQTTMessage:
    made = MQTTMessage(topic=topic)
    made.payload = payload
    return made


async def test_a_database_error_costs_one_message_and_not_the_broker() -> None:
    access = FailingAccess()
    mqtt = ingest(access)
    running = asyncio.create_task(mqtt.run())
    for n in range(2):
        mqtt._put(TOPIC, seal("abcdefg0", key_digest("x"), TOPIC, b"%d" % n))
    await eventually(lambda: len(access.asked) == 2)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("key", ["abc\0efgh", "", "a" * 1000])
def test_database_is_not_queried_for_an_invalid_key_id(key: str) -> None:
    access = FailingAccess()
    before = refused("sink.key")
    assert ingest(access)._answer(TOPIC, seal(key, key_digest("x"), TOPIC, b"")) is None
    assert access.asked == []
    assert refused("sink.key") == before + 1


async def test_strange_and_too_large_messages_are_not_queued() -> None:
    mqtt = ingest(FailingAccess())
    loop = asyncio.get_running_loop()
    client: Any = mqtt._client(loop)
    malformed, large = refused("sink.malformed"), refused("sink.too-large")
    client.on_message(client, None, message(b"edge/\xff/alert", b"x"))
    client.on_message(client, None, message(TOPIC.encode(), bytes(MAX_ALERT + 1025)))
    client.on_message(client, None, message(TOPIC.encode(), b"good"))
    await eventually(lambda: mqtt._queue.qsize() > 0)
    assert mqtt._queue.qsize() == 1
    assert (refused("sink.malformed"), refused("sink.too-large")) == (malformed + 1, large + 1)


async def test_end_of_pahos_thread_is_an_error() -> None:
    """An empty label cannot be resolved: a UnicodeError ends paho's thread."""
    with pytest.raises(RuntimeError, match="UnicodeError"):
        await asyncio.wait_for(ingest(FailingAccess(), "a..b").run(), 10)
