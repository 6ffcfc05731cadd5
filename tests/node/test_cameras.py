"""Cameras of two nodes with one name are two cameras."""

from __future__ import annotations

from pathlib import Path

from agent.api.requests import AddCamera, Source, Trigger
from tests.node.site import Site
from tests.sink.running import jpeg
from tests.support import eventually

COMMAND = bytes.fromhex("0061736d0100000001040160000003020100070a01065f737461727400000a040102000b")
"""A WASM command that does nothing."""
ZONES = {"door": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]}
TEXT = """\
version: 1
name: p
steps:
  wifi: {tail: /nowhere/log, where: node=hall, wasm: {module: m.wasm}}
  photos: {after: wifi, where: camera=true, camera: {shots: 1}}
  seen: {after: photos, where: node=hall, sink: }
"""


async def test_cameras_of_one_name_on_two_nodes_are_two(site: Site, tmp_path: Path) -> None:
    (tmp_path / "front.jpg").write_bytes(jpeg())
    hall, porch = await site.start("hall"), await site.start("porch")
    for node in (hall, porch):
        await node.api.cameras.add(AddCamera("front", f"file:{tmp_path / 'front.jpg'}", zones=ZONES, min_area=0.02))
        await hall.labels.change(node.mesh.me.id, {"camera": "true"}, [])
    await eventually(lambda: all(n.labels.get("camera") == "true" for n in hall.mesh.live()))
    await hall.api.pipelines.apply(Source(text=TEXT, files={"m.wasm": COMMAND}))
    await eventually(lambda: "p" in porch.delivery.engine.definitions.current)
    await hall.api.pipelines.trigger("p", Trigger("photos", "device.arrived", {}))

    def photos() -> set[str]:
        seen = [*hall.delivery.engine.recent, *porch.delivery.engine.recent]
        return {e["data"]["camera"] for e in seen if e["type"] == "camera.photo"}

    await eventually(lambda: len(photos()) >= 2)
    assert photos() == {"hall/front", "porch/front"}
    (photo, *_) = (e for e in hall.delivery.engine.recent if e["type"] == "camera.photo")
    assert {k: [list(c) for c in v] for k, v in photo["data"]["zones"].items()} == {"door": [[0, 0], [1, 0], [1, 1]]}
    assert (photo["data"]["min_area"], "max_area" in photo["data"]) == (0.02, False)
