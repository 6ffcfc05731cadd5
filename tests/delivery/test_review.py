"""Delivery holds against a stolen member, a failing node and an unlucky moment."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.delivery import router
from agent.delivery.rows import State
from agent.delivery.validation import decoded
from agent.delivery.wire import DeliverRequest, Delivery, Question, Record, Report, Verdict
from agent.errors import Refused, Unreachable
from agent.model.alert import Hop
from agent.model.cid import raw_cid
from agent.model.event import Event
from agent.model.node import Capacity, NodeRecord
from agent.model.pipeline import Keep
from agent.model.placement import rank
from tests.delivery.story import STORY, Building
from tests.doubles.memory import Peer
from tests.support import eventually


def rescaled(b: Building, node: str = "porch", ident: str = "e1", **data: Any) -> Event:
    return Event(
        id=ident, source=f"/{node}/{b.pipeline.name}/small", type="image.rescaled", time="2026-01-01T00:00:00Z", root="r1",
        data={"camera": "porch-cam", **data}, pipeline=b.pipeline.name, step="small",
    )  # fmt: skip


def delivery(b: Building, made_by: Event, step: str = "labels", **changes: Any) -> Delivery:
    made = Delivery(b.pipeline.name, b.pipeline.version, step, "", made_by.encode(), 10.0, 60_000.0, [], 0)
    for key, value in changes.items():
        setattr(made, key, value)
    return made


async def deliver(
    b: Building, to: str, items: list[Delivery], blobs: dict[str, bytes] | None = None, sender: str = "porch"
) -> list[Verdict]:
    body = msgspec.msgpack.encode(DeliverRequest(items, blobs or {}))
    answer = await b.nodes[to].p.receiver.deliver(Peer(sender, sender), body)
    return msgspec.msgpack.decode(answer, type=list[Verdict])


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"a": made}
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {"remaining_ms": math.nan},
        {"remaining_ms": math.inf},
        {"age_ms": math.nan},
        {"attempts": 2**64 - 1},
        {"attempts": -1},
        {"trace": [Hop("x" * 5000, "n", 1.0)]},
        {"trace": [Hop("x", "n", math.nan)]},
        {"event": b"[" * 100_000},
        {"event": b"{}"},
    ],
)
async def test_a_delivery_that_would_break_the_journal_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    (verdict,) = await deliver(b, "gpu", [delivery(b, rescaled(b), **changes)])
    assert verdict.status == "bad"
    assert b.nodes["gpu"].p.journal.storage.failed is None
    (verdict,) = await deliver(b, "gpu", [delivery(b, rescaled(b))])
    assert verdict.status == "accepted"
    await b.stop()


async def test_an_event_nested_too_deeply_is_refused_beside_a_good_one(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    bad = delivery(b, rescaled(b, ident="e2", x=deep(400)))
    verdicts = await deliver(b, "gpu", [bad, delivery(b, rescaled(b))])
    assert [v.status for v in verdicts] == ["bad", "accepted"]
    await b.stop()


@pytest.mark.parametrize(
    "record",
    [
        Record("cooldown:p/alert", "k", "e", 1.0, math.nan),
        Record("cooldown:p/alert", "k", "e", math.nan, 1.0),
        Record("cooldown:p/alert", "k", "e", 1.0, 1e18),
        Record("cooldown:p/alert", "k", "e" * 1000, 1.0, 1.0),
        Record("presence:p/arrived", "no mac", "e", 1.0, 1.0),
        Record("presence:p/arrived", "02:00:00:00:00:01", "e", 1.0, 1.0, True, {"node": "x" * 100_000}),
        Record("presence:p/arrived", "02:00:00:00:00:01", "e", 1.0, 1.0, True, {"a": deep(3000)}),
    ],
)
async def test_a_record_that_makes_no_sense_is_not_kept(tmp_path: Path, record: Record) -> None:
    b = Building(tmp_path)
    b.start("gpu", "up")
    p = b.nodes["gpu"].p
    with pytest.raises(Refused):
        await p.deciders._remember(Peer("up", "up"), packed(record))
    assert not p.deciders.records
    assert await p.deciders.decide(Question("cooldown:p/alert", "k", "e1", 60.0)) == "e1"
    await b.stop()


def packed(record: Record) -> bytes:
    """Also what msgspec itself would not encode: nesting without end."""
    try:
        return msgspec.msgpack.encode(record)
    except RecursionError:
        head = msgspec.msgpack.encode(msgspec.structs.replace(record, value={}))[:-1]
        return head + b"\x81\xa1a" * 5000 + b"\x80"


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e18])
async def test_a_question_without_a_sensible_window_is_refused(tmp_path: Path, seconds: float) -> None:
    b = Building(tmp_path)
    b.start("gpu")
    with pytest.raises(Refused):
        await b.nodes["gpu"].p.deciders._decide(
            Peer("up", "up"), msgspec.msgpack.encode(Question("cooldown:p/alert", "k", "e", seconds))
        )
    await b.stop()


async def test_blobs_that_no_accepted_event_names_are_not_stored(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("ap", "porch", "gpu", "up")
    junk = {str(raw_cid(bytes([i]) * 100)): bytes([i]) * 100 for i in range(20)}
    named = [{"name": "a.jpg", "cid": next(iter(junk)), "type": "image/jpeg", "size": 100}]
    stolen = delivery(b, rescaled(b, node="ap", blobs=named))
    (verdict,) = await deliver(b, "gpu", [stolen], junk, sender="ap")
    assert verdict.status == "not-allowed"
    assert not b.nodes["gpu"].blobs.data
    await b.stop()


async def test_an_inline_blob_under_a_false_name_is_not_taken(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    cid = str(raw_cid(b"the real one"))
    named = [{"name": "a.jpg", "cid": cid, "type": "image/jpeg", "size": 12}]
    (verdict,) = await deliver(b, "gpu", [delivery(b, rescaled(b, blobs=named))], {cid: b"another"})
    assert verdict.status == "blob"
    assert not b.nodes["gpu"].blobs.data
    assert not b.nodes["gpu"].blobs.pins
    await b.stop()


async def test_a_pick_here_step_takes_no_deliveries(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "garage", "up")
    event = rescaled(b, node="garage")
    event = msgspec.structs.replace(event, source=f"/garage/{b.pipeline.name}/photos", step="photos")
    (verdict,) = await deliver(b, "porch", [delivery(b, event, "small")], sender="garage")
    assert verdict.status == "not-allowed"
    await b.stop()


@dataclass
class Answer:
    """A member that answers deliveries with this."""

    body: bytes

    async def __call__(self, peer: Any, body: bytes) -> bytes:
        return self.body


@pytest.mark.parametrize("body", [b"", b"\x90", b"\x91" * 100_000, b"\xc1", msgspec.msgpack.encode(["x"])])
async def test_a_nonsense_answer_leaves_the_row_waiting(tmp_path: Path, body: bytes) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    real = b.net.nodes["gpu"].handlers["pipeline.deliver"]
    nonsense = Answer(body)
    b.net.nodes["gpu"].handlers["pipeline.deliver"] = nonsense
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    (row,) = p.journal.open_rows()
    await eventually(lambda: "gpu" in row.avoid)
    b.net.nodes["gpu"].handlers["pipeline.deliver"] = real
    await eventually(lambda: row.end == "delivered")
    await b.stop()


async def test_a_short_answer_does_not_open_an_ended_row_again(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    p = b.nodes["porch"].p

    async def settle_then_answer_short(peer: Any, body: bytes) -> bytes:
        item = msgspec.msgpack.decode(body, type=DeliverRequest).items[0]
        event = msgspec.json.decode(item.event)["id"]
        told = [Report(event, item.pipeline, item.step, item.slot, 2, "delivered", "", False, False)]
        await p.receiver.report(Peer("gpu", "gpu"), msgspec.msgpack.encode(told))
        return msgspec.msgpack.encode([])

    b.net.nodes["gpu"].handlers["pipeline.deliver"] = settle_then_answer_short
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    (row,) = p.journal.rows.values()
    await eventually(lambda: row.closed)
    await eventually(lambda: not p.senders._busy["gpu"])
    assert row.state is State.ENDED
    b.check_sums()
    await b.stop()


async def test_large_events_and_blobs_travel_in_bounded_requests(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    sizes: list[int] = []
    real = b.net.nodes["gpu"].handlers["pipeline.deliver"]

    async def measured(peer: Any, body: bytes) -> bytes:
        sizes.append(len(body))
        return await real(peer, body)

    b.net.nodes["gpu"].handlers["pipeline.deliver"] = measured
    p = b.nodes["porch"].p
    b.net.cut.add(frozenset(("porch", "gpu")))
    for i in range(20):
        blobs = []
        for j in range(16):
            cid, size = await b.nodes["porch"].blobs.put(bytes([i, j]) * 90_000)
            blobs.append({"name": f"{j}.jpg", "cid": cid, "type": "image/jpeg", "size": size})
        await p.trigger(
            b.pipeline, "small", "image.rescaled", {"camera": "porch-cam", "pad": "x" * 200_000, "blobs": blobs}
        )
    b.net.cut.clear()
    b.net.nodes["porch"].tell(b.net.nodes["gpu"].record, True)
    await eventually(lambda: all(r.end == "delivered" for r in p.journal.rows.values()), timeout=30)
    assert max(sizes) < 4 << 20
    await b.stop()


class Unable:
    """A program that cannot be reached for its first `times` runs."""

    in_flight = 4

    def __init__(self, program: Any, times: list[int]) -> None:
        self.program, self.times = program, times

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, item: Any) -> Any:
        if self.times[0] > 0:
            self.times[0] -= 1
            raise Unreachable("its daemon is away")
        return await self.program.run(item)


async def test_a_row_no_node_could_run_runs_later_and_uses_no_attempt(
    tmp_path: Path,
) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "old", "up")
    times = [7]
    for name in ("gpu", "old"):
        executors = b.nodes[name].steps.parts.programs.executors
        executors.docker = lambda task, name, real=executors.docker: Unable(real(task, name), times)  # type: ignore[method-assign]
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    await eventually(lambda: b.quiet() and bool(b.alerts), timeout=30)
    (row,) = p.journal.rows.values()
    assert (row.end, row.attempts, times) == ("delivered", 0, [0])
    b.check_sums()
    await b.stop()


async def test_a_node_that_cannot_start_gives_its_rows_to_another(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "old", "up")

    def no_daemon(task: Any, name: str) -> Any:
        raise Unreachable("no docker here")

    b.nodes["gpu"].steps.parts.programs.executors.docker = no_daemon  # type: ignore[method-assign]
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    await eventually(lambda: b.quiet() and bool(b.alerts))
    assert b.nodes["old"].p.journal.counts[b.pipeline.name, "labels"]["delivered"] == 1
    b.check_sums()
    await b.stop()


async def test_a_fault_in_a_programs_start_does_not_end_the_agent(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "old", "up")

    def faulty(task: Any, name: str) -> Any:
        raise KeyError("image")

    b.nodes["gpu"].steps.parts.programs.executors.docker = faulty  # type: ignore[method-assign]
    await b.nodes["porch"].p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    await eventually(lambda: bool(b.alerts))
    task = b.nodes["gpu"].task
    assert task is not None
    assert not task.done()
    await b.stop()


async def test_replaced_programs_stop_once_nothing_is_in_flight(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    await b.nodes["porch"].p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    await eventually(lambda: b.quiet() and bool(b.alerts))
    p, programs = b.nodes["gpu"].p, b.nodes["gpu"].steps.parts.programs
    key = (b.pipeline.name, b.pipeline.version, "labels")
    await p.hosts.retire()
    assert key in p.hosts.hosts
    newer = msgspec.structs.replace(b.pipeline, keep=Keep(unmatched=60.0))
    p.definitions.apply(newer.name, msgspec.json.encode(newer))
    await p.hosts.retire()
    assert key not in p.hosts.hosts
    assert not programs._runners
    # An event of the old version that comes late is still run.
    await b.nodes["porch"].p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    await eventually(lambda: len(b.alerts) == 2)
    await b.stop()


async def test_naming_a_photo_does_not_let_the_sender_read_it(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "garage", "gpu", "up")
    cid, size = await b.nodes["gpu"].blobs.put(b"a photo of the garage")
    named = [{"name": "a.jpg", "cid": cid, "type": "image/jpeg", "size": size}]
    (verdict,) = await deliver(b, "gpu", [delivery(b, rescaled(b, blobs=named))])
    assert verdict.status == "accepted"
    assert not b.nodes["gpu"].blobs.needs.may_read("porch", cid)
    await b.stop()


async def test_an_alert_that_may_never_leave_fails_for_good(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")

    async def too_large(alert: Any) -> None:
        raise Refused("too large", code="uplink.too-large")

    b.nodes["up"].steps.parts.alerts.submit = too_large
    await b.nodes["porch"].p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    await eventually(lambda: b.quiet() and b.ends().get("alert") == {"failed": 2})
    b.check_sums()
    await b.stop()


@pytest.mark.parametrize("data", [{"blobs": 3}, {"blobs": [{"name": "a", "cid": "no cid"}]}, {"x": deep(200)}])
async def test_an_unacceptable_event_is_refused_before_the_journal(tmp_path: Path, data: dict[str, Any]) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    p = b.nodes["porch"].p
    with pytest.raises(Refused):
        await p.trigger(b.pipeline, "small", "image.rescaled", data)
    assert not p.journal.rows
    assert p.journal.open_count == 0
    await b.stop()


ACCEPT = Answer(msgspec.msgpack.encode([Verdict("accepted")]))


async def test_a_node_that_forgot_is_given_the_event_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "PROBE", 0.0)
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    real = b.net.nodes["gpu"].handlers["pipeline.deliver"]
    b.net.nodes["gpu"].handlers["pipeline.deliver"] = ACCEPT
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    (row,) = p.journal.rows.values()
    await eventually(lambda: row.state is State.PLACED)
    b.net.nodes["gpu"].handlers["pipeline.deliver"] = real
    await eventually(lambda: row.end == "delivered" and bool(b.alerts))
    b.check_sums()
    await b.stop()


async def test_news_of_a_present_node_send_nothing_again(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    asked: list[bytes] = []

    async def accept(peer: Any, body: bytes) -> bytes:
        asked.append(body)
        return ACCEPT.body

    b.net.nodes["gpu"].handlers["pipeline.deliver"] = accept
    p = b.nodes["porch"].p
    await p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"})
    (row,) = p.journal.rows.values()
    await eventually(lambda: row.state is State.PLACED)
    news = b.net.nodes["gpu"].record
    for free in range(5):
        news = msgspec.structs.replace(news, capacity=Capacity(free=free))
        b.net.nodes["porch"].tell(news, True)
        assert row.state is State.PLACED
    b.net.nodes["porch"].tell(msgspec.structs.replace(news, boot="another"), True)
    await eventually(lambda: len(asked) == 2)
    await b.stop()


async def test_a_cancelled_write_leaves_no_row_behind(tmp_path: Path) -> None:
    b = Building(tmp_path)
    b.start("porch", "gpu", "up")
    p = b.nodes["porch"].p
    trigger = asyncio.create_task(p.trigger(b.pipeline, "small", "image.rescaled", {"camera": "porch-cam"}))
    await eventually(lambda: bool(p.journal.rows))
    trigger.cancel()
    await asyncio.gather(trigger, return_exceptions=True)
    await eventually(lambda: b.quiet() and bool(b.alerts))
    await b.stop()


async def test_the_nodes_of_an_event_are_frozen_once(tmp_path: Path) -> None:
    text = STORY.replace("camera: {shots: 2, every: 0s}", "camera: {shots: 1}\n    dedupe: {key: [root], for: 5m}")
    b = Building(tmp_path, text)
    b.start()
    p = b.nodes["ap"].p
    data = {"device": {"mac": "02:00:00:00:00:01", "known": False}}
    for _ in range(2):
        await p.trigger(b.pipeline, "arrived", "device.arrived", data, "the-same-event")
        await eventually(lambda: b.quiet() and bool(b.alerts))
    assert p.journal.counts[b.pipeline.name, "photos"]["deduplicated"] == 1
    assert b.runs["docker"] == 2
    b.check_sums()
    await b.stop()


def test_a_boasting_node_does_not_get_all_the_work() -> None:
    nodes = [
        NodeRecord(id="honest", name="honest", capacity=Capacity(free=100)),
        NodeRecord(id="liar", name="liar", capacity=Capacity(cpus=1e15, free=10**15)),
    ]
    first = [rank(f"event {i}", nodes)[0].id for i in range(500)]
    assert first.count("honest") > 3


@pytest.mark.parametrize(
    ("scope", "seconds", "kept"),
    [
        ("cooldown:person-at-the-door/alert", 300.0, True),
        ("cooldown:person-at-the-door/alert", 86400.0, False),
        ("dedupe:person-at-the-door/alert", 10.0, False),
        ("cooldown:another/alert", 10.0, False),
        ("anything", 10.0, False),
    ],
)
async def test_no_member_silences_alerts_beyond_the_window(
    tmp_path: Path, scope: str, seconds: float, kept: bool
) -> None:
    b = Building(tmp_path)
    b.start("gpu", "up")
    deciders = b.nodes["gpu"].p.deciders
    asked = deciders._remember(Peer("up", "up"), msgspec.msgpack.encode(Record(scope, "k", "e", 0.0, seconds)))
    if kept:
        await asked
    else:
        with pytest.raises(Refused):
            await asked
    assert bool(deciders.records) == kept
    await b.stop()


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(Refused):
        decoded(b"\x91\x92\xa1\xff\xa0", list[Verdict])
