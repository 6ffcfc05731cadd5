"""Deliveries that a node accepts from others, and reports that count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.delivery.receiver import BYTES_PER_SECOND, EVENTS_PER_SECOND
from agent.delivery.rows import State
from agent.delivery.wire import MAX_ITEMS, DeliverRequest, Delivery, Report, Verdict
from agent.errors import EdgeError, Refused
from agent.executors import Policy
from agent.model.event import MAX_BLOBS, MAX_EVENT, Event
from agent.rates import Rates
from tests.delivery.story import STORY, Building
from tests.support import eventually, load_pipeline


class Sender:
    """Speaks to `gpu` as a member of the mesh would; its `labels` step takes the events of `small`."""

    def __init__(self, building: Building) -> None:
        self.b = building
        self.gpu = building.nodes["gpu"]

    def item(
        self, ident: str = "e1", *, step: str = "labels", event: dict[str, Any] | None = None, **changes: Any
    ) -> Delivery:
        name = self.b.pipeline.name
        fields: dict[str, Any] = {
            "id": ident, "source": f"/porch/{name}/small", "type": "image.rescaled", "time": "2026-01-01T00:00:00Z", "root": "r",
            "data": {"camera": "porch-cam"}, "pipeline": name, "step": "small", **(event or {}),
        }  # fmt: skip
        made = Delivery(name, self.b.pipeline.version, step, "", Event(**fields).encode(), 10.0, 60_000.0, [], 0)
        for key, value in changes.items():
            setattr(made, key, value)
        return made

    async def send(
        self, *items: Delivery, as_: str = "porch", to: str = "gpu", blobs: dict[str, bytes] | None = None
    ) -> list[Verdict]:
        body = msgspec.msgpack.encode(DeliverRequest(list(items), blobs or {}))
        answer = await self.b.net.nodes[as_].call(to, "pipeline.deliver", body)
        return msgspec.msgpack.decode(answer, type=list[Verdict])

    async def said(self, *items: Delivery, **options: Any) -> list[str]:
        return [v.status for v in await self.send(*items, **options)]


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    b = Building(tmp_path)
    b.start("ap", "porch", "garage", "gpu", "up")
    yield b
    await b.stop()


@pytest.fixture
async def sender(building: Building) -> Sender:
    return Sender(building)


def rows(s: Sender) -> list[str]:
    return sorted(r.event.id for r in s.gpu.p.journal.rows.values() if r.step == "labels")


async def test_what_a_parent_s_node_sends_is_accepted_and_on_the_disk(sender: Sender) -> None:
    assert await sender.said(sender.item()) == ["accepted"]
    found = sender.gpu.p.journal.query("SELECT event FROM row WHERE step = 'labels'")
    assert found == [("e1",)]
    await eventually(lambda: sender.b.runs["docker"] == 1)


async def test_the_same_delivery_again_is_accepted_and_runs_once(sender: Sender) -> None:
    for _ in range(3):
        assert await sender.said(sender.item()) == ["accepted"]
    await eventually(sender.b.quiet)
    assert sender.b.runs["docker"] == 1
    assert sender.gpu.p.totals()[sender.b.pipeline.name]["labels"]["accepted"] == 1


@pytest.mark.parametrize("as_", ["ap", "up"])
async def test_a_node_that_may_not_run_the_parent_may_not_send_for_it(sender: Sender, as_: str) -> None:
    name = sender.b.pipeline.name
    assert await sender.said(sender.item(event={"source": f"/{as_}/{name}/small"}), as_=as_) == ["not-allowed"]
    assert not rows(sender)


@pytest.mark.parametrize(
    "event",
    [
        {"source": "/garage/person-at-the-door/small"},  # garage may, but this is porch
        {"source": "/porch2/person-at-the-door/small"},
        {"source": "porch"},
        {"source": ""},
        {"step": "photos"},
        {"step": "labels"},
        {"step": ""},
    ],
)
async def test_a_forged_origin_is_refused(sender: Sender, event: dict[str, Any]) -> None:
    assert await sender.said(sender.item(event=event)) == ["not-allowed"]
    assert not rows(sender)


async def test_a_delivery_for_another_node_is_refused(sender: Sender) -> None:
    assert await sender.said(sender.item(slot="old")) == ["bad"]
    assert await sender.said(sender.item(slot="gpu")) == ["bad"]  # one node runs it: there are no slots
    assert await sender.said(sender.item(), to="garage") == ["not-allowed"]
    name = sender.b.pipeline.name
    alert = sender.item(step="alert", event={"step": "labels", "source": f"/gpu/{name}/labels"})
    assert await sender.said(alert, as_="gpu", to="garage") == ["not-allowed"]


async def test_an_owner_s_policy_refuses_with_the_rule(sender: Sender) -> None:
    sender.gpu.p.receiver.check = Policy(docker=False).check
    (verdict,) = await sender.send(sender.item())
    assert (verdict.status, "policy.docker" in verdict.detail) == ("policy", True)


@pytest.mark.parametrize(
    "event",
    [
        {"data": {"x": "y" * MAX_EVENT}},
        {"data": {"blobs": [{"name": "b", "cid": f"c{i}"} for i in range(MAX_BLOBS + 1)]}},
        {"data": {"blobs": [{"name": "b", "cid": "c", "size": 1 << 40}]}},
        {"data": {"blobs": "many"}},
        {"data": {"blobs": [{"cid": "c"}]}},
        {"id": ""},
    ],
)
async def test_an_event_beyond_the_limits_is_refused_beside_good_ones(sender: Sender, event: dict[str, Any]) -> None:
    assert await sender.said(sender.item("e0"), sender.item("bad", event=event), sender.item("e2")) == [
        "accepted", "bad", "accepted"
    ]  # fmt: skip
    assert rows(sender) == ["e0", "e2"]


@pytest.mark.parametrize("verb", ["pipeline.deliver", "pipeline.report"])
@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x91" * 5000, msgspec.msgpack.encode([[1], {}]), msgspec.msgpack.encode({"a": 1})]
)
async def test_what_is_no_request_is_refused(sender: Sender, verb: str, body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        await sender.b.net.nodes["porch"].call("gpu", verb, body)
    assert caught.value.code == "bad"


async def test_too_many_deliveries_in_one_request_are_refused(sender: Sender) -> None:
    with pytest.raises(Refused, match=str(MAX_ITEMS)):
        await sender.said(*(sender.item(f"e{i}") for i in range(MAX_ITEMS + 1)))
    assert not rows(sender)


async def test_the_limits_of_a_sender_allow_bursts_of_two_seconds(sender: Sender) -> None:
    r = sender.gpu.p.receiver
    assert (r._events._rate, r._events._burst) == (EVENTS_PER_SECOND, 2 * EVENTS_PER_SECOND)
    assert (r._bytes._rate, r._bytes._burst) == (BYTES_PER_SECOND, 2 * BYTES_PER_SECOND)


async def test_one_sender_s_flood_is_refused_and_the_others_are_served(sender: Sender) -> None:
    moment = 1e6
    sender.gpu.p.receiver._events = Rates(5.0, 10.0, clock=lambda: moment)
    flood = [sender.item(f"e{i}") for i in range(10)]
    assert set(await sender.said(*flood)) == {"accepted"}
    assert await sender.said(sender.item("more")) == ["rate"]
    other = sender.item("g", event={"source": f"/garage/{sender.b.pipeline.name}/small"})
    assert await sender.said(other, as_="garage") == ["accepted"]
    moment += 0.25
    assert await sender.said(sender.item("more")) == ["accepted"]
    assert await sender.said(sender.item("more2")) == ["rate"]
    assert sender.gpu.p.receiver.refused["rate"] == 2


async def test_bytes_count_against_the_rate_too(sender: Sender) -> None:
    sender.gpu.p.receiver._bytes = Rates(10_000.0, 20_000.0)
    assert await sender.said(sender.item(event={"data": {"x": "y" * 30_000}})) == ["rate"]
    assert await sender.said(sender.item("small")) == ["accepted"]


async def test_a_version_that_is_not_known_yet_is_refused_until_it_is(sender: Sender) -> None:
    newer = load_pipeline(STORY.replace("away: 30m", "away: 31m"))
    item = sender.item(version=newer.version)
    assert await sender.said(item) == ["version"]
    sender.gpu.p.definitions.apply(newer.name, msgspec.json.encode(newer))
    assert await sender.said(item) == ["accepted"]
    assert await sender.said(sender.item("old")) == ["accepted"]  # events in flight end under their version


@pytest.mark.parametrize("changes", [{"pipeline": "another"}, {"version": ""}, {"step": "nothing"}])
async def test_a_pipeline_or_step_that_is_not_known_is_refused(sender: Sender, changes: dict[str, Any]) -> None:
    assert await sender.said(sender.item(**changes)) == ["version"]


async def test_a_blob_that_nobody_has_is_refused_and_may_come_later(sender: Sender) -> None:
    porch = sender.b.nodes["porch"]
    cid, size = await porch.blobs.put(b"photo")
    del porch.blobs.data[cid]
    item = sender.item(event={"data": {"camera": "porch-cam", "blobs": [{"name": "p.jpg", "cid": cid, "size": size}]}})
    assert await sender.said(item) == ["blob"]
    assert not rows(sender)
    await porch.blobs.put(b"photo")
    assert await sender.said(item) == ["accepted"]
    assert sender.gpu.blobs.data[cid] == b"photo"


@pytest.mark.parametrize("way", ["inline", "fetched", "here already"])
async def test_an_event_with_a_false_size_of_its_blob_is_refused(sender: Sender, way: str) -> None:
    cid, size = await sender.b.nodes["porch"].blobs.put(b"photo")
    if way == "here already":
        await sender.gpu.blobs.put(b"photo")
    item = sender.item(
        event={"data": {"camera": "porch-cam", "blobs": [{"name": "p.jpg", "cid": cid, "size": size + 1}]}}
    )
    assert await sender.said(item, blobs={cid: b"photo"} if way == "inline" else None) == ["blob"]
    assert not rows(sender)


async def test_a_step_s_part_of_the_queue_is_bounded_and_freed(tmp_path: Path) -> None:
    b = Building(tmp_path, max_open=12)  # six steps: two rows each
    b.start("porch", "gpu", "up")
    s = Sender(b)
    b.nodes["gpu"].p.hosts.enqueue = lambda row: None  # nothing runs
    assert await s.said(s.item("e1"), s.item("e2"), s.item("e3")) == ["accepted", "accepted", "full"]
    assert await s.said(s.item("e1")) == ["accepted"]  # an event that is already here needs no room
    row = b.nodes["gpu"].p.journal.find("e1", b.pipeline.name, "labels", "")
    assert row is not None
    gpu = b.nodes["gpu"].p
    gpu.apply(gpu.lifecycle.ended(row, "failed", "test"))
    assert await s.said(s.item("e3")) == ["accepted"]
    await b.stop()


async def test_nothing_is_accepted_when_the_journal_fails(sender: Sender) -> None:
    sender.gpu.p.journal.storage.failed = OSError("no space left")
    with pytest.raises(EdgeError) as caught:
        await sender.said(sender.item())
    assert caught.value.code == "journal.write"
    with pytest.raises(EdgeError):
        await sender.said(sender.item())  # also where memory knows it from the first try
    assert sender.b.runs["docker"] == 0


# -- reports ----------------------------------------------------------------------------------------------------------


async def placed(s: Sender) -> Any:
    """A row of porch that gpu has accepted and never runs."""
    s.gpu.p.hosts.enqueue = lambda row: None
    porch = s.b.nodes["porch"].p
    await porch.trigger(s.b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    await eventually(lambda: any(r.state is State.PLACED for r in porch.journal.rows.values()))
    return next(r for r in porch.journal.rows.values() if r.step == "labels")


async def report(s: Sender, row: Any, as_: str, **changes: Any) -> None:
    made = Report(row.event.id, row.pipeline, row.step, row.slot, 1, "delivered", "", False, False)
    for key, value in changes.items():
        setattr(made, key, value)
    await s.b.net.nodes[as_].call("porch", "pipeline.report", msgspec.msgpack.encode([made]))


async def test_only_the_node_that_has_a_delivery_may_report_about_it(sender: Sender) -> None:
    row = await placed(sender)
    for stranger in ("up", "ap"):
        await report(sender, row, stranger)
        assert row.open
    await report(sender, row, "gpu")
    assert (row.end, row.closed) == ("delivered", False)
    await report(sender, row, "gpu", phase=2, matched=True)
    assert row.closed
    assert row.matched


async def test_an_unknown_end_is_failed_and_unknown_rows_skipped(sender: Sender) -> None:
    row = await placed(sender)
    await report(sender, row, "gpu", event="unknown")
    assert row.open
    await report(sender, row, "gpu", end="vanished", reason="x" * 5000, final=True)
    assert (row.end, len(row.reason)) == ("failed", 500)
    sender.b.check_sums()


async def test_a_run_that_failed_elsewhere_counts_and_goes_to_the_next(sender: Sender) -> None:
    row = await placed(sender)
    await report(sender, row, "gpu", end="failed", reason="it broke")
    assert row.open
    assert (row.attempts, row.avoid) == (1, ("gpu",))
    await eventually(lambda: row.state is State.PLACED)  # gpu is the only one: it is asked again
    await report(sender, row, "gpu", end="failed", free=True)
    assert (row.open, row.attempts) == (True, 1)
    await eventually(lambda: row.state is State.PLACED)
    await report(sender, row, "gpu", end="failed", final=True)
    assert row.end == "failed"
