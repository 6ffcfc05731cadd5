"""The status of the whole mesh, as an operator and as a member see it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from agent.api import results
from agent.api.resources import OtherNodes
from agent.errors import EdgeError, NotFound, Refused, Unreachable
from agent.health import HealthRegistry
from agent.mesh import Mesh
from agent.model.alert import StatusSummary
from agent.model.event import now
from agent.model.health import HealthCount, Warning
from agent.model.node import NodeRecord
from agent.node.node_facts import Absences
from agent.node.status_summary import SummarySender
from cloud_sink.ingest.check import decode_status
from tests.api.memory import STATUS
from tests.node.site import Site
from tests.support import eventually

BROKEN = Warning("service.restarted", "labels", "labels stopped 3 times: oops", "see the agent's log; report it")


async def test_an_operator_sees_the_warnings_of_every_node(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    porch.health.set(BROKEN)
    await eventually(lambda: [c.code for c in hall.mesh.node("porch").health if c.code == BROKEN.code])
    shown = await hall.api.status.show("*")
    assert msgspec.structs.replace(BROKEN, node="porch") in shown.warnings
    assert shown.counted == ["hall", "porch"]
    assert not [w for w in (await hall.api.status.show()).warnings if w.code == BROKEN.code]
    assert BROKEN in (await hall.api.status.show("porch")).warnings


async def test_a_member_sees_the_codes_of_other_nodes_only(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    hall.health.set(BROKEN)
    await eventually(lambda: [c for c in porch.mesh.node("hall").health if c.code == BROKEN.code])
    (found,) = [w for w in (await porch.api.status.show("*")).warnings if w.code == BROKEN.code]
    assert (found.node, "oops" in found.text) == ("hall", False)
    with pytest.raises(Refused):
        await porch.api.status.show("hall")
    with pytest.raises(Refused):
        await porch.mesh.call(hall.mesh.me.id, "status.show", b"")


class Members:
    """A mesh whose nodes answer with a status, or with an error."""

    def __init__(self, **answers: results.Status | EdgeError) -> None:
        self.answers, self.calls = answers, 0
        self.me = NodeRecord(id="gpu", name="gpu", role="operator")

    def live(self) -> list[NodeRecord]:
        return [self.me, *(NodeRecord(id=n, name=n, health=[HealthCount("disk.full")]) for n in self.answers)]

    def node(self, name: str) -> NodeRecord:
        return next(n for n in self.live() if n.name == name)

    async def call(self, node: str, verb: str, body: bytes, **_: Any) -> bytes:
        self.calls += 1
        answer = self.answers[node]
        if isinstance(answer, EdgeError):
            raise answer
        return msgspec.json.encode(answer)


def others(members: Members) -> OtherNodes:
    return OtherNodes(cast(Mesh, members))


async def test_counts_are_summed_over_the_nodes_that_answer() -> None:
    members = Members(porch=STATUS, garage=STATUS, attic=Unreachable("attic does not answer"))
    shown = await others(members).added_to(STATUS)
    assert shown.counted == ["gpu", "garage", "porch"]
    assert (shown.journal.accepted, shown.journal.open) == (3 * STATUS.journal.accepted, 3 * STATUS.journal.open)
    before, after = STATUS.pipelines[0].steps[0], shown.pipelines[0].steps[0]
    assert (after.accepted, after.ends.delivered) == (3 * before.accepted, 3 * before.ends.delivered)


async def test_an_error_of_a_step_on_another_node_is_shown() -> None:
    shown = await others(Members(porch=STATUS)).added_to(STATUS)
    failing = next(s for s in shown.pipelines[0].steps if s.error)
    assert failing.elsewhere == [results.StepFault("porch", failing.state, failing.error, failing.hint)]


async def test_a_silent_node_is_shown_with_its_codes() -> None:
    shown = await others(Members(attic=Unreachable("no answer"))).added_to(STATUS)
    (found,) = [w for w in shown.warnings if w.node == "attic"]
    assert (found.code, found.subject) == ("disk.full", "attic")


async def test_several_viewers_cost_one_request_a_node() -> None:
    members = Members(porch=STATUS, attic=Unreachable("no answer"))
    asked = others(members)
    for _ in range(3):
        await asked.added_to(STATUS)
    assert members.calls == 2


async def test_a_node_of_an_older_version_is_named() -> None:
    with pytest.raises(Unreachable, match="does not tell"):
        await others(Members(porch=NotFound("no verb status.show"))).one("porch")


async def test_the_sink_gets_the_warnings_of_every_node(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    porch.health.set(BROKEN)
    await eventually(lambda: [c for c in hall.mesh.node("porch").health if c.code == BROKEN.code])
    sender = SummarySender(hall.delivery.uplink, hall.mesh, hall.health, lambda: hall.admission.identity, 900.0)
    (found,) = [w for w in sender.warnings() if w.node == "porch" and w.code == BROKEN.code]
    assert found.text == "porch: service.restarted"


async def test_a_summary_is_sent_again_when_a_count_changes() -> None:
    porch = SimpleNamespace(name="porch", id="p", version="1", health=[HealthCount("camera.gone", 1, "error")])
    mesh = SimpleNamespace(known=lambda: [porch], live=lambda: [None, porch], is_live=lambda _: True)
    sent: list[StatusSummary] = []

    async def send_status(summary: StatusSummary) -> None:
        sent.append(summary)

    uplink = SimpleNamespace(configured=True, send_status=send_status, asked_every=0.0)
    me = SimpleNamespace(mesh_id="m", name="hall")
    sender = SummarySender(uplink, mesh, HealthRegistry(), lambda: me, 240.0)  # type: ignore[arg-type,return-value]
    for count in (1, 1, 2, 2):
        porch.health = [HealthCount("camera.gone", count, "error")]
        await sender.send()
    assert [s.warnings[0].text for s in sent] == ["porch: camera.gone", "porch: camera.gone (2 times)"]
    assert {s.every for s in sent} == {240}
    uplink.asked_every = 1e-9
    await sender.send()
    assert sent[2].every == 1
    uplink.asked_every = 900.0
    await sender.send()
    assert len(sent) == 3


async def test_the_sink_takes_a_summary_with_long_texts(site: Site) -> None:
    hall = await site.start("hall")
    hall.health.set(Warning("step.failing", "p/s", "p/s failed: " + "x\0" * 2000, "see edge-agent logs p/s", "error"))
    sender = SummarySender(hall.delivery.uplink, hall.mesh, hall.health, lambda: hall.admission.identity, 900.0)
    summary = StatusSummary(mesh=hall.admission.identity.mesh_id, node="hall", time=now(), warnings=sender.warnings())
    taken = decode_status(msgspec.msgpack.encode(summary))
    assert [w.text[:13] for w in taken.warnings if w.code == "step.failing"] == ["p/s failed: x"]


def test_an_absence_is_measured_until_it_ends() -> None:
    absent = Absences()
    assert absent.of("camera", ["door"], 100.0)[0].seconds == 0.0
    assert absent.of("camera", ["door"], 700.0)[0].seconds == 600.0
    assert absent.of("camera", [], 710.0) == []
    assert absent.of("camera", ["door"], 720.0)[0].seconds == 0.0
