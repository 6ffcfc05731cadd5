"""Signed documents take effect; unreadable documents change nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from agent.api.requests import Label, Rollback, Source, Trigger
from agent.errors import NotFound, PipelineError, Refused
from agent.model.documents import DEVICE, PIPELINE
from agent.model.node import CameraInfo, Capacity
from agent.model.pipeline import Pipeline, Step
from agent.node import close_node
from agent.steps import KINDS
from tests.api.test_resolve import TEXT
from tests.node.site import Site
from tests.support import eventually, load_pipeline

MAC = "02:00:00:00:00:01"


async def test_an_applied_pipeline_is_on_every_node_after_a_restart(site: Site, filters: Path) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    files = {
        "f/join.wasm": (filters / "wifi-join.wasm").read_bytes(),
        "f/rescale.wasm": (filters / "rescale.wasm").read_bytes(),
    }
    made = await hall.api.pipelines.apply(Source(text=TEXT, file="p.yaml", files=files, dry_run=True))
    assert (made.changed, made.counter) == (True, 0)
    assert not hall.delivery.engine.definitions.current
    made = await hall.api.pipelines.apply(Source(text=TEXT, file="p.yaml", files=files, dry_run=False))
    await eventually(lambda: "p" in porch.delivery.engine.definitions.current)
    assert porch.delivery.engine.definitions.current["p"].version == made.version
    assert (
        await hall.api.pipelines.apply(Source(text=TEXT, file="p.yaml", files=files, dry_run=False))
    ).changed is False
    second = await hall.api.pipelines.apply(
        Source(text=TEXT.replace("-q", "-v"), file="p.yaml", files=files, dry_run=False)
    )
    assert second.overrode.version == made.version
    await eventually(lambda: porch.delivery.engine.definitions.current["p"].version == second.version)
    await site.stop("porch")
    porch = await site.start("porch")
    assert porch.delivery.engine.definitions.current["p"].version == second.version
    await hall.api.pipelines.rollback("p", Rollback())
    await eventually(lambda: porch.delivery.engine.definitions.current["p"].version == made.version)
    history = await porch.api.pipelines.history("p")
    assert [(h.counter, h.signer) for h in sorted(history, key=lambda h: h.counter)] == [(2, "hall"), (3, "hall")]
    await hall.api.pipelines.remove("p")
    await eventually(lambda: not porch.delivery.engine.definitions.current)
    with pytest.raises(NotFound):
        await hall.api.pipelines.describe("p")


NAMED = """
version: 1
name: p
steps:
  log: {tail: /nowhere, wasm: {module: f/join.wasm}}
  photos: {after: log, where: node=hall, camera: {cameras: [front, hall/door]}}
  small: {after: photos, process: {command: [cat]}}
"""


async def test_unknown_cameras_and_gpus_are_warnings(site: Site, filters: Path) -> None:
    hall = await site.start("hall")
    files = {"f/join.wasm": (filters / "wifi-join.wasm").read_bytes()}
    asked = Source(text=NAMED, file="p.yaml", files=files, dry_run=True)
    warnings = (await hall.api.pipelines.apply(asked)).warnings
    assert warnings == ["p/photos: no live node that may run it has a camera; edge-agent camera add"]
    me = hall.mesh.me
    info = [CameraInfo("door", "file"), CameraInfo("yard", "file")]
    step = load_pipeline(NAMED.replace("f/join.wasm", "x")).step("photos")
    assert step is not None
    assert KINDS.of(step).lacking(step, [replace(me, cameras=info)]) == [
        "no live node that may run it has a camera front; cameras: hall/door, hall/yard"
    ]
    gpus = Step(name="s", kind="docker", task={"image": "x", "gpus": 2})
    two = replace(me, capacity=Capacity(all_gpus=2))
    assert KINDS.of(gpus).lacking(gpus, [two]) == []
    assert KINDS.of(gpus).lacking(gpus, [me]) == ["no live node that may run it has 2 GPUs"]


async def test_a_pipeline_of_a_member_is_refused(site: Site, filters: Path) -> None:
    await site.start("hall")
    porch = await site.start("porch")
    files = dict.fromkeys(("f/join.wasm", "f/rescale.wasm"), (filters / "wifi-join.wasm").read_bytes())
    with pytest.raises(Exception, match="operator"):
        await porch.api.pipelines.apply(Source(text=TEXT, file="p.yaml", files=files, dry_run=False))
    assert not porch.delivery.engine.definitions.current


async def test_an_error_in_the_pipeline_file_comes_with_its_place(site: Site) -> None:
    hall = site.node("hall")
    with pytest.raises(PipelineError) as caught:
        await hall.api.pipelines.apply(
            Source(text=TEXT.replace("after: small", "after: smal"), file="p.yaml", files={}, dry_run=False)
        )
    assert caught.value.message.startswith("p.yaml:7:")
    assert "small" in caught.value.hint
    await close_node(hall)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"name": "p"}',
        b'{"name": "another", "steps": []}',
        b'{"name": "p", "steps": [{"name": "s", "kind": "magic", "task": {}}]}',
        b'{"name": "p", "steps": [{"name": "s", "kind": "wasm", "task": {}, "deadline": null}]}',
        b'{"name": "p", "steps": [{"name": "s", "kind": "camera", "task": {}, "where": "cpu > 3"}]}',
        b'{"name": "p", "steps": [], "text": "\xff"}',
    ],
)
async def test_a_malformed_pipeline_leaves_the_good_one_in_force(site: Site, body: bytes) -> None:
    hall = await site.start("hall")
    good = Pipeline(
        name="p", steps=[Step(name="s", kind="tail", task={"source": "/nonexistent", "wasm": {"module": "m"}})]
    )
    await hall.mesh.documents.put(PIPELINE, "p", msgspec.json.encode(good))
    assert hall.delivery.engine.definitions.current["p"] == good
    await hall.mesh.documents.put(PIPELINE, "p", body)
    assert hall.delivery.engine.definitions.current["p"] == good
    await site.stop("hall")
    again = await site.start("hall")  # the bad document does not prevent a start
    assert again.delivery.engine.definitions.current["p"] == good


async def test_a_source_that_cannot_be_opened_is_only_a_warning(site: Site, filters: Path) -> None:
    hall = await site.start("hall")
    cid, _ = await hall.stores.blobs.put((filters / "wifi-join.wasm").read_bytes())
    step = Step(name="s", kind="tail", task={"source": {"nonsense": 1}, "wasm": {"module": cid}}, pick="all")
    await hall.mesh.documents.put(PIPELINE, "p", msgspec.json.encode(Pipeline(name="p", steps=[step])))
    await eventually(lambda: hall.delivery.sources.runners)
    (source,) = (await hall.api.status.show()).sources
    assert source.ok is False
    assert "not a source of lines" in source.text
    assert not site.running["hall"][1].done()


async def test_a_device_is_known_everywhere_once_an_operator_says_so(site: Site) -> None:
    hall, porch = await site.start("hall"), await site.start("porch")
    await hall.mesh.documents.put(DEVICE, MAC, b'{"name": "anna", "known": true}')
    devices = porch.delivery.engine.steps.parts.devices.devices
    await eventually(lambda: MAC in devices)
    assert (devices[MAC].name, devices[MAC].known) == ("anna", True)
    await hall.mesh.documents.put(DEVICE, MAC, b"{")
    await hall.mesh.documents.put(DEVICE, MAC, b"", removed=True)
    await eventually(lambda: MAC not in devices)


async def test_an_event_is_triggered_only_where_its_step_may_run(site: Site, filters: Path) -> None:
    hall = await site.start("hall")
    files = dict.fromkeys(("f/join.wasm", "f/rescale.wasm"), (filters / "wifi-join.wasm").read_bytes())
    await hall.api.pipelines.apply(Source(text=TEXT, file="p.yaml", files=files, dry_run=False))
    with pytest.raises(Refused) as caught:
        await hall.api.pipelines.trigger("p", Trigger("small", "", {"mac": MAC}))
    assert caught.value.code == "not-allowed"
    await hall.api.nodes.label("hall", Label({"wifi-log": "true"}, []))
    await eventually(lambda: "wifi-log" in hall.mesh.me.labels)
    made = await hall.api.pipelines.trigger("p", Trigger("small", "", {"mac": MAC}))
    rows = hall.stores.journal.of_root(made.id)
    assert {r.step for r in rows} >= {"small", "again"}
    with pytest.raises(NotFound):
        await hall.api.pipelines.trigger("p", Trigger("nothing", "", {}))
