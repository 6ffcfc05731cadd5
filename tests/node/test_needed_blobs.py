"""The blobs that a node keeps, and the blobs that it deletes."""

from __future__ import annotations

import tempfile
from typing import Any

import msgspec

from agent.node import Node
from tests.node.site import Site
from tests.support import eventually, load_pipeline

PIPELINE = """\
version: 1
name: p
steps:
  wifi: {tail: auto, where: wifi-log=true, wasm: {module: bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy}}
  alert: {after: wifi, when: data.never, sink: {}}
"""


async def add_by_hand(agent: Node, data: bytes) -> dict[str, Any]:
    """As `edge-agent blob add` does."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        added = await agent.api.blobs.add(file.fileno(), len(data))
    return {"name": "f", "cid": added.cid, "type": "image/jpeg", "size": added.size}


async def event_that_ends(agent: Node, *blobs: dict[str, Any]) -> None:
    """An event that names these blobs; every step skips it."""
    pipeline = load_pipeline(PIPELINE)
    agent.delivery.engine.definitions.apply("p", msgspec.json.encode(pipeline))
    await agent.delivery.engine.trigger(pipeline, "wifi", "wifi.client.joined", {"blobs": list(blobs)})
    assert all(row.closed for row in agent.stores.journal.rows.values())


async def test_a_blob_added_by_hand_survives_the_end_of_an_event(site: Site) -> None:
    hall = await site.start("hall")
    mine = await add_by_hand(hall, b"by hand")
    cid, size = await hall.stores.blobs.put(b"a photo")
    await event_that_ends(hall, mine, {**mine, "cid": cid, "size": size})
    await eventually(lambda: not hall.stores.blobs.has(cid))
    assert hall.stores.blobs.has(mine["cid"])
    await site.stop("hall")
    hall = await site.start("hall")
    cid, size = await hall.stores.blobs.put(b"a photo")
    await event_that_ends(hall, mine, {**mine, "cid": cid, "size": size})
    await eventually(lambda: not hall.stores.blobs.has(cid))
    assert hall.stores.blobs.has(mine["cid"])
