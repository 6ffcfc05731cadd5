"""Real nodes send the fields that docs/api.md promises."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from agent.api import results
from agent.api.requests import AddCamera, EventsQuery, NodesQuery, Trigger
from agent.api.resources.photo_steps import PhotoSteps
from agent.errors import CameraError
from agent.identity import PendingNode
from agent.model.event import Event
from agent.model.pipeline import Pipeline, Step
from agent.model.task import StepOutput
from agent.node import Node
from tests.node.site import Site
from tests.support import eventually

STEPS = [
    Step(name="s", kind="tail", task={"source": "/none", "wasm": {"module": "m"}}),
    Step(name="seen", kind="presence", task={}, after=["s"]),
]


async def triggered(node: Node) -> str:
    """The id of an event that was put into a step of a new pipeline."""
    await node.mesh.documents.put("pipeline", "p", msgspec.json.encode(Pipeline(name="p", steps=STEPS)))
    return (
        await node.api.pipelines.trigger("p", Trigger("seen", "wifi.client.joined", {"mac": "02:00:00:00:00:01"}))
    ).id


async def test_status_says_for_how_long_a_node_is_silent(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    own, other = (await hall.api.status.show()).nodes
    assert (own.name, own.own, own.seen_s) == ("hall", True, 0.0)
    assert (other.name, other.own, 0 <= other.seen_s < 15) == ("porch", False, True)
    await site.stop("porch")
    await eventually(lambda: not hall.mesh.is_live(porch.mesh.me.id), 20)
    before = (await hall.api.nodes.matching(NodesQuery("node=porch")))[0].seen_s
    await eventually(lambda: hall.api.nodes.states()[1].seen_s >= before + 0.5)


async def test_status_has_the_version_of_the_docker_engine(site: Site) -> None:
    hall = site.node("hall")  # it does not run: a running node looks for its engine and sets the version
    assert (await hall.api.status.show()).engines.docker == ""
    hall.programs.docker.version = "20.10.24"  # tests/executors/test_docker.py has it from a real engine
    assert (await hall.api.status.show()).engines.docker == "20.10.24"


async def test_status_has_the_version_of_the_wasm_engine(site: Site) -> None:
    hall = await site.start("hall")
    name, _, version = (await hall.api.status.show()).engines.wasm.partition(" ")
    assert (name, version[:1].isdigit()) == (hall.programs.wasm.name, True)


async def test_status_says_what_is_wrong_with_a_camera_of_this_node(site: Site) -> None:
    hall = await site.start("hall")
    await hall.api.cameras.add(AddCamera("door", f"file:{site.folder}/none.jpg"))
    assert [c.text for c in hall.api.cameras.states()] == [""]
    with pytest.raises(CameraError) as caught:
        await hall.api.cameras.test("door")
    await hall.api.cameras.add(AddCamera("other", f"file:{site.folder}/none.jpg"))  # the mesh hears of it
    shown = {c.name: c for c in (await hall.api.status.show()).cameras}
    assert (shown["door"].node, shown["door"].ok, shown["door"].text) == ("hall", False, caught.value.message)
    assert (shown["other"].ok, shown["other"].text) == (True, "")


async def test_a_described_node_has_its_certificate_and_capacity(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    found = await hall.api.nodes.describe("porch")
    assert found.certificate is not None
    assert found.certificate.days_left == round((porch.admission.identity.not_after - time.time()) / 86400)
    assert found.capacity.cpus > 0


async def test_a_pending_node_has_the_time_since_when_it_waits(site: Site) -> None:
    hall = await site.start("hall")
    assert hall.admission.desk is not None
    asked = time.monotonic() - 60
    waiting = PendingNode(b"c" * 32, b"n", asked, time.monotonic(), code="k7q2", node_id="x", name="attic")
    hall.admission.desk.pending._nodes[b"c" * 32] = waiting
    (found,) = await hall.api.nodes.pending()
    since = datetime.fromisoformat(found.since)
    assert 55 < (datetime.now(UTC) - since).total_seconds() < 90


async def test_an_event_has_the_version_of_its_form(site: Site) -> None:
    hall = await site.start("hall")
    made = await triggered(hall)
    rows = [row async for row in hall.api.events.passing(EventsQuery(limit=1))]
    assert (rows[0].id, msgspec.to_builtins(rows[0])["specversion"]) == (made, "1.0")


async def test_the_last_hop_of_a_trace_says_how_the_event_ended(site: Site) -> None:
    hall = await site.start("hall")
    ident = await triggered(hall)

    async def traced() -> results.Trace:
        return await hall.api.events.trace(ident)

    async with asyncio.timeout(20):
        while not (trace := await traced()).complete:
            await asyncio.sleep(0.05)
    assert (trace.hops[-1].step, trace.hops[-1].end) == ("seen", "delivered")


DOOR = [(0.2, 0.4), (0.8, 0.4), (0.8, 1.0)]


async def test_a_camera_test_takes_the_way_of_the_pipeline(
    site: Site, filters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall = await site.start("hall")
    image = Image.new("RGB", (1280, 720), (200, 40, 40))
    image.save(site.folder / "good.jpg")
    good = (site.folder / "good.jpg").read_bytes()
    # The scan's data is invalid in the middle: its markers and its end are whole.
    (site.folder / "damaged.jpg").write_bytes(good[: len(good) // 2] + b"\x55" * 400 + good[len(good) // 2 + 400 :])
    for name in ("good", "damaged"):
        await hall.api.cameras.add(
            AddCamera(name, f"file:{site.folder}/{name}.jpg", zones={"door": DOOR}, min_area=0.02)
        )
    before = await hall.api.cameras.test("good")
    assert before.passed == []
    cid, _ = await hall.stores.blobs.put((filters / "rescale.wasm").read_bytes(), owner="test")
    steps = [
        Step(name="s", kind="tail", task={"source": "/none", "wasm": {"module": cid}}),
        Step(name="photos", kind="camera", task={}, after=["s"]),
        Step(name="small", kind="wasm", task={"module": cid}, after=["photos"], pick="here"),
    ]
    await hall.mesh.documents.put("pipeline", "p", msgspec.json.encode(Pipeline(name="p", steps=steps)))
    await eventually(lambda: "p" in hall.delivery.engine.definitions.current)
    tested = await hall.api.cameras.test("good")
    assert [(p.step, p.width, p.height) for p in tested.passed] == [("p/small", 640, 360)]
    run, seen = PhotoSteps._run, []

    async def spied(self: PhotoSteps, step: Step, event: Event) -> list[StepOutput]:
        seen.append(event.data)
        return await run(self, step, event)

    monkeypatch.setattr(PhotoSteps, "_run", spied)
    with pytest.raises(CameraError, match=r"p/small cannot use it: .*damaged") as caught:
        await hall.api.cameras.test("damaged")
    assert caught.value.code == "camera.picture"
    assert (seen[0]["camera"], seen[0]["zones"], seen[0]["min_area"]) == ("hall/damaged", {"door": DOOR}, 0.02)


async def test_volatile_folder_holds_what_may_be_lost(site: Site) -> None:
    ram = Path("/dev/shm") / f"edge-agent-test-{os.getpid()}"
    try:
        hall = await site.start("hall", volatile=str(ram))
        assert not (await hall.api.status.show()).journal.durable
        assert (ram / "journal.db").exists()
        kept = {p.name for p in hall.config.state.iterdir()}
        assert not kept & {"journal.db", "logs", "blobs", "cache", "scratch", "added-blobs"}
        await site.stop("hall")
    finally:
        shutil.rmtree(ram, ignore_errors=True)


async def test_an_operator_sees_the_device_under_each_node(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    own = (await hall.api.status.show()).device
    assert own is not None
    assert (own.arch, own.cores > 0, own.memory > 0, own.flash > 0) == (hall.mesh.me.labels["arch"], True, True, True)
    assert (await hall.api.nodes.describe("porch")).device == own
    assert (await porch.api.nodes.describe("porch")).device == own
    assert (await porch.api.nodes.describe("hall")).device is None  # it is no operator
