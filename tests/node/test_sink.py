"""The sink of a whole node: connecting, and disconnecting for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.api.requests import ConnectSink
from agent.errors import NotFound
from agent.health import run_checks
from tests.node.site import Site
from tests.sink.running import running_sink
from tests.support import eventually


async def test_a_disconnected_node_has_no_sink_and_no_label(site: Site, tmp_path: Path) -> None:
    hall = await site.start("hall")
    with pytest.raises(NotFound):
        await hall.api.sink.disconnect()
    async with running_sink(tmp_path / "sink") as sink:
        await hall.api.sink.connect(ConnectSink(sink.connect, sink.key))
        await eventually(lambda: hall.mesh.me.labels.get("uplink") == "true")
        gone = await hall.api.sink.disconnect()
        assert (gone.sink, gone.node, gone.labelled) == (sink.url, "hall", False)
    assert "uplink" not in hall.mesh.me.labels
    assert not hall.api.sink.state().configured
    assert not (hall.config.state / "uplink" / "sink.json").exists()


async def test_a_member_says_that_an_operator_has_to_drop_the_label(site: Site, tmp_path: Path) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    async with running_sink(tmp_path / "sink") as sink:
        await porch.api.sink.connect(ConnectSink(sink.connect, sink.key))
        await hall.labels.change(porch.mesh.me.id, {"uplink": "true"}, [])
        await eventually(lambda: "uplink" in porch.labels.signed(porch.mesh.me.id))
        assert (await porch.api.sink.disconnect()).labelled


async def test_a_sink_that_was_not_asked_yet_is_no_fault(site: Site, tmp_path: Path) -> None:
    hall = await site.start("hall")
    facts = hall.self_checks.facts
    async with running_sink(tmp_path / "sink") as sink:
        await hall.api.sink.connect(ConnectSink(sink.connect, sink.key))
        facts.uplink.connected, facts.uplink._last_error = False, ""
        assert "sink.disconnected" not in {w.code for w in run_checks(await facts.collect())}
        facts.uplink.connected, facts.uplink._last_error = False, "refused"
        assert "sink.disconnected" in {w.code for w in run_checks(await facts.collect())}
