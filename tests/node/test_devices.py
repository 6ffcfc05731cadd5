"""Devices on real nodes: names, addresses that belong together, and the time of learning."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.api.requests import Merge, Source, StopLearning, Trigger, UpdateDevice
from agent.api.resources import devices
from agent.delivery import Decision
from agent.errors import NotFound, Refused
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import rank
from agent.node import Node
from agent.steps import DeviceInfo
from agent.steps.learning import decider_key
from tests.node.site import Site
from tests.support import eventually

FIRST, SECOND, THIRD = (f"02:00:00:00:00:0{i}" for i in range(1, 4))
TAIL = Step(name="s", kind="tail", task={"source": "/none", "wasm": {"module": "m"}})


async def apply(node: Node, *, then: bool = False, **task: Any) -> None:
    """A pipeline in which nothing takes the step's events but a step whose `when` is false."""
    seen = Step(name="seen", kind="presence", task=task, after=["s"])
    steps = [
        TAIL,
        seen,
        *([Step(name="then", kind="presence", task={}, after=["seen"], when="data.never")] if then else []),
    ]
    await node.mesh.documents.put("pipeline", "p", msgspec.json.encode(Pipeline(name="p", steps=steps)))


async def sees(node: Node, mac: str, kind: str = "joined") -> list[str]:
    """The types of the events that follow, which no step takes."""
    line = Trigger(
        "seen", f"wifi.client.{kind}", {"mac": mac, "sender": "10.0.0.1", "access_point": "roof", "interface": "w"}
    )
    made = await node.api.pipelines.trigger("p", line)
    journal = node.stores.journal
    await eventually(lambda: all(not r.open for r in journal.of_root(made.id)))
    return [e["type"] for e in node.delivery.engine.recent if e["root"] == made.id and "parent" in e]


async def test_arrival_is_in_the_events_when_nothing_follows(site: Site) -> None:
    hall = await site.start("hall")
    await apply(hall, learn=0.0)
    assert await sees(hall, FIRST) == ["device.arrived"]
    assert await sees(hall, FIRST, "active") == []
    (device,) = await hall.api.devices.all()
    assert (device.id, device.present, device.node) == (FIRST, True, "hall")
    assert (device.access_point, device.interface) == ("roof", "w")


async def test_fresh_mesh_meets_devices_until_learning_is_stopped(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    with pytest.raises(NotFound, match="no pipeline"):
        await hall.api.devices.stop_learning(StopLearning())
    await apply(hall, then=True)
    await eventually(lambda: "p" in porch.delivery.engine.definitions.current)
    decider = next(n for n in (hall, porch) if decides(n, hall))
    assert await sees(decider, FIRST) == ["device.met"]
    assert "then" not in {r.step for r in decider.stores.journal.rows.values()}
    for node in (hall, porch):
        await eventually(lambda n=node: 86000 < n.api.pipelines.states()[0].learning_s <= 86400)
    row, _ = await hall.api.devices.stop_learning(StopLearning("p"))
    assert (row.pipeline, row.left_s, row.stopped) == ("p", 0.0, True)
    await eventually(lambda: porch.api.pipelines.states()[0].learning_s == 0.0)
    assert await sees(decider, FIRST) == []  # it was met: learning has marked nothing as known
    assert await sees(decider, SECOND) == ["device.arrived"]
    assert "then" in {r.step for r in decider.stores.journal.rows.values()}
    assert not any(d.known for d in await hall.api.devices.all())


def decides(node: Node, other: Node) -> bool:
    return rank(decider_key("p"), other.mesh.live(), weighed=False)[0].id == node.mesh.me.id


async def test_names_are_unique_and_no_addresses(site: Site) -> None:
    devices = (await site.start("hall")).api.devices
    assert (await devices.update("02-00-00-00-00-01", UpdateDevice(name=" Ada's  phone "))).name == "Ada's phone"
    assert (await devices.update("ada's phone", UpdateDevice(known=True))).id == FIRST
    for name in ("ADA'S PHONE", "02:00:00:00:00:01", "0200.0000.0009", "020000000009"):
        with pytest.raises(Refused) as caught:
            await devices.update("020000000002", UpdateDevice(name=name))
        assert caught.value.code == "device.name"
    assert (await devices.update("0200.0000.0001", UpdateDevice(name="Ada's phone"))).id == FIRST  # its own name


async def test_ambiguous_name_is_refused_with_the_macs(site: Site) -> None:
    hall = await site.start("hall")
    for mac in (FIRST, SECOND):  # two operators gave one name at once
        await hall.mesh.documents.put("device", mac, b'{"name": "phone"}')
    with pytest.raises(Refused, match=f"{FIRST}, {SECOND}") as caught:
        await hall.api.devices.update("phone", UpdateDevice(known=True))
    assert caught.value.code == "device.ambiguous"
    with pytest.raises(NotFound):
        await hall.api.devices.update("tablet", UpdateDevice(known=True))


async def test_merged_devices_share_record_name_and_known(site: Site) -> None:
    hall = await site.start("hall")
    await apply(hall, learn=0.0)
    devices = hall.api.devices
    for mac in (FIRST, SECOND, THIRD):
        assert await sees(hall, mac) == ["device.arrived"]
    await devices.update(SECOND, UpdateDevice(name="phone", known=True))
    await devices.merge("phone", Merge(THIRD))
    merged = await devices.merge(FIRST, Merge("phone"))
    assert (merged.id, merged.name, merged.known, merged.addresses) == (FIRST, "phone", True, [SECOND, THIRD])
    assert [d.id for d in await devices.all()] == [FIRST]
    assert (await devices.update(THIRD, UpdateDevice(name="Ada"))).id == FIRST
    for ident, other in ((FIRST, FIRST), ("ada", THIRD)):
        with pytest.raises(Refused) as caught:
            await devices.merge(ident, Merge(other))
        assert caught.value.code == "device.merge"
    assert await sees(hall, THIRD, "left") == []
    assert await devices.merge("ada", Merge(THIRD, undo=True))
    assert {d.id for d in await devices.all()} == {FIRST, THIRD}
    with pytest.raises(Refused):
        await devices.merge("ada", Merge(THIRD, undo=True))


async def test_merge_of_two_operators_in_a_circle_can_be_undone(site: Site) -> None:
    hall = await site.start("hall")
    for mac, other in ((FIRST, SECOND), (SECOND, FIRST)):
        await hall.mesh.documents.put("device", mac, msgspec.json.encode(DeviceInfo(same_as=other)))
    devices = hall.api.devices
    assert [d.id for d in await devices.all()] == [FIRST]
    assert (await devices.merge(FIRST, Merge(SECOND, undo=True))).addresses == []


async def test_list_of_very_many_devices_has_the_last_heard(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "LISTED", 2)
    hall = await site.start("hall")
    for i in range(5):
        mac = f"02:00:00:00:00:0{i}"
        hall.delivery.engine.deciders.records["presence:p/s", mac] = Decision("presence:p/s", mac, "", i, 1e9)
    assert [d.id for d in await hall.api.devices.all()] == ["02:00:00:00:00:03", "02:00:00:00:00:04"]


async def test_forget_takes_all_addresses_and_says_if_there_is_none(site: Site) -> None:
    hall = await site.start("hall")
    await apply(hall, learn=0.0)
    devices = hall.api.devices
    with pytest.raises(NotFound, match="nothing is known"):
        await devices.forget(FIRST)
    for mac in (FIRST, SECOND):
        await sees(hall, mac)
    await devices.merge(FIRST, Merge(SECOND))
    await devices.forget(SECOND)
    assert await devices.all() == []
    assert await sees(hall, SECOND) == ["device.arrived"]


async def test_settle_is_accepted_with_a_note(site: Site) -> None:
    hall = await site.start("hall")
    text = "version: 1\nname: p\nsteps:\n  s: {tail: auto, wasm: {module: m.wasm}}\n  a: {after: s, presence: {settle: 1m}}\n"
    module = {"m.wasm": b"\0asm\1\0\0\0"}
    noted = await hall.api.pipelines.apply(Source(text=text, files=module, dry_run=True))
    assert noted.learning_s == 86400
    assert any("settle is no longer used" in w for w in noted.warnings)
