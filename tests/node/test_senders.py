"""Senders of logs: unknown senders are shown on every node, and an operator's decision about one reaches all nodes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.api.requests import DecideSender
from agent.errors import ConfigError, Refused
from agent.health import run_checks
from agent.model.documents import PIPELINE, SENDER
from agent.model.pipeline import Pipeline, Step
from agent.node import Node
from agent.sources import network, rule_name
from agent.steps.tail_runner import TailRunner
from tests.node.site import Site
from tests.support import eventually

LINE = b"<29>Mar  4 09:10:11 attic-ap hostapd: wlan0: AP-STA-CONNECTED 02:00:00:00:00:01"
HERE = DecideSender("127.0.0.1", True)


async def receiving(node: Node, operator: Node, filters: Path) -> TailRunner:
    """A receiver on this node for which loopback is as strange as any other network."""
    cid, _ = await node.stores.blobs.put((filters / "wifi-join.wasm").read_bytes())
    spec = {"source": {"syslog": "udp://127.0.0.1:0", "allow": ["192.0.2.0/24"]}, "wasm": {"module": cid}}
    step = Step(name="wifi", kind="tail", task=spec, pick="all", where=f"node={node.mesh.me.name}")
    body = msgspec.json.encode(Pipeline(name="p", steps=[step]))
    if operator.mesh.documents.get(PIPELINE, "p") is None:
        await operator.mesh.documents.put(PIPELINE, "p", body)
    return await started(node)


async def started(node: Node) -> TailRunner:
    runners = node.delivery.sources.runners
    await eventually(lambda: any(source_of(r).port for r in runners.values()), 20)
    (runner,) = runners.values()
    assert isinstance(runner, TailRunner)
    return runner


def source_of(runner: Any) -> Any:
    return runner.source


def send(runner: TailRunner) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(LINE, ("127.0.0.1", source_of(runner).port))


async def warnings(node: Node) -> list[str]:
    found = run_checks(await node.self_checks.facts.collect())
    return [w.remedy for w in found if w.code == "source.not-allowed"]


async def test_a_decision_reaches_the_receiver_and_stays(site: Site, filters: Path) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    runner = await receiving(porch, hall, filters)
    send(runner)
    await eventually(runner.senders)
    (source,) = await hall.api.sources.all()
    assert (source.node, source.pipeline, source.step, source.name) == ("porch", "p", "wifi", "udp://127.0.0.1:0")
    (sender,) = source.senders
    assert (sender.address, sender.allowed, sender.decided) == ("127.0.0.1", False, False)
    assert (sender.lines, sender.dropped, sender.sample) == (0, {"not allowed": 1}, LINE.decode())
    (remedy,) = await warnings(porch)
    assert "edge-agent source allow 127.0.0.1" in remedy
    with pytest.raises(Refused):
        await porch.api.sources.decide(HERE)

    made = await hall.api.sources.decide(HERE)
    assert (made.network, made.allow) == ("127.0.0.1", True)
    await eventually(lambda: runner.senders()[0].allowed)
    send(runner)
    await eventually(lambda: runner.events == 1)
    assert await warnings(porch) == []

    await site.stop("porch")
    porch = await site.start("porch")
    runner = await started(porch)
    send(runner)
    await eventually(lambda: runner.events == 1)


async def test_only_operators_see_the_lines_that_others_receive(site: Site, filters: Path) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    send(await receiving(hall, hall, filters))
    assert len(await hall.api.sources.all()) == 1
    assert await porch.api.sources.all() == []


async def test_a_denied_sender_gives_no_warning(site: Site, filters: Path) -> None:
    hall = await site.start("hall")
    runner = await receiving(hall, hall, filters)
    send(runner)
    await eventually(runner.senders)
    await hall.api.sources.decide(DecideSender("127.0.0.0/8", False))
    assert (runner.senders()[0].allowed, runner.senders()[0].decided) == (False, True)
    assert await warnings(hall) == []
    await hall.mesh.documents.put(SENDER, rule_name(network("127.0.0.0/8")), b"", removed=True)
    assert len(await warnings(hall)) == 1
    for name in ("nonsense", "net-127.0.0.1-64"):
        await hall.mesh.documents.put(SENDER, name, b'{"allow": true}')
    await hall.mesh.documents.put(SENDER, rule_name(network("127.0.0.1")), b"{")
    assert len(await warnings(hall)) == 1


@pytest.mark.parametrize("text", ["", "attic-ap", "192.168.1.7/24", "192.168.1.300"])
async def test_a_decision_is_about_an_address_or_a_network(site: Site, text: str) -> None:
    hall = site.node("hall")
    with pytest.raises(ConfigError) as caught:
        await hall.api.sources.decide(DecideSender(text, True))
    assert "192.168.1.0/24" in caught.value.hint
