"""One node: events for watchers, log lines, renewals, removals."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from agent import supervise
from agent.api.requests import EventsQuery, Label, LogsQuery
from agent.api.results import EventRow
from agent.backoff import Backoff
from agent.errors import EdgeError
from agent.identity import Identity
from agent.node import Node, run_node
from agent.node.event_feed import publish_event
from agent.node.run import close_all
from tests.node.site import Site
from tests.support import eventually, load_pipeline

PIPELINE = """\
version: 1
name: p
steps:
  wifi: {tail: auto, wasm: {module: bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy}}
  alert: {after: wifi, sink: {}}
"""
EVENT = {"specversion": "1.0", "id": "e1", "type": "wifi.client.joined", "time": "2026-11-22T10:00:00Z", "node": "hall"}


async def heard(agent: Node, event: dict[str, Any]) -> EventRow:
    """The event as a watcher gets it."""
    stream = agent.api.events.passing(EventsQuery(follow=True, limit=0))
    async with asyncio.timeout(20), aclosing(stream) as passing:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(passing))
        while not first.done():
            publish_event(agent.mesh.publish_log, event)
            await asyncio.wait({first}, timeout=0.1)
        return first.result()


async def test_watchers_get_events_whole_or_without_their_data(site: Site) -> None:
    hall = await site.start("hall")
    fits = {**EVENT, "data": {"labels": ["x" * 10_000]}}
    assert msgspec.to_builtins(await heard(hall, fits)) == fits
    long = {**EVENT, "data": {"labels": ["x" * 100_000]}}
    told = await heard(hall, long)
    assert msgspec.to_builtins(told) == {**EVENT, "omitted": len(json.dumps(long, separators=(",", ":")))}


async def follows_porch(site: Site, hall: Node, step: str) -> None:
    """A follower of logs on hall gets the lines of porch, which starts afterwards."""
    hall.delivery.engine.definitions.current["p"] = load_pipeline(PIPELINE)
    async with aclosing(hall.api.logs.lines("p", LogsQuery(step, follow=True, lines=0))) as lines:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(lines))
        porch = await site.start("porch")
        async with asyncio.timeout(20):
            while not first.done():
                porch.delivery.logs.of("p", "v", "wifi").line("hello")
                await asyncio.wait({first}, timeout=0.1)
        assert (first.result().node, first.result().line) == ("porch", "hello")


async def test_log_lines_of_a_node_that_comes_back_are_followed(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    await site.stop("porch")
    await eventually(lambda: not hall.mesh.is_live(porch.mesh.me.id), 20)
    await follows_porch(site, hall, "wifi")


async def test_log_lines_of_a_node_that_joins_later_are_followed_too(site: Site) -> None:
    hall = await site.start("hall")
    await follows_porch(site, hall, "")


async def test_a_renewed_certificate_is_used_after_a_failed_try(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "BACKOFF", Backoff((0.0,)))
    hall = await site.start("hall")
    use, tried = hall.mesh.use, 0

    async def broken(identity: Identity) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise OSError("no more files")
        await use(identity)

    monkeypatch.setattr(hall.mesh, "use", broken)
    renewed = await hall.admission.renewal.renew()
    await eventually(lambda: tried == 2 and hall.admission.certificate.in_use)
    assert hall.admission.identity is hall.mesh._session.identity is renewed
    assert [w.subject for w in hall.health.list() if w.code == "service.restarted"] == ["certificate"]


async def test_parts_are_closed_after_one_that_fails_to_close(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hall = site.node("hall")
    close = hall.programs.docker.close

    async def failing() -> None:
        await close()
        raise OSError("no more files")

    monkeypatch.setattr(hall.programs.docker, "close", failing)
    with socket.create_server(("127.0.0.1", hall.config.mesh.port)), pytest.raises(ExceptionGroup) as fault:
        await run_node(hall)
    assert fault.group_contains(EdgeError, match="mesh")
    assert hall.stores.journal.storage._thread is None
    assert "no more files" in caplog.text


async def test_a_cancellation_waits_for_the_last_part() -> None:
    closed: list[str] = []

    async def cancelled() -> None:
        closed.append("first")
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await close_all(cancelled, lambda: closed.append("last"))
    assert closed == ["first", "last"]


async def test_removing_a_node_with_the_sink_key_gives_a_hint(site: Site) -> None:
    hall = await site.start("hall")
    porch, _ = await site.start("porch"), await site.start("garage")
    await hall.api.nodes.label("porch", Label({"uplink": "true"}, []))
    await eventually(lambda: hall.mesh.node("porch").labels.get("uplink") == "true")
    assert "edge-sink key revoke" in (await hall.api.nodes.remove(porch.mesh.me.id)).hint
    assert "hint" not in msgspec.to_builtins(await hall.api.nodes.remove("garage"))
