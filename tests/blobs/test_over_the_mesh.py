"""Blobs over a real mesh: mTLS, signed requests and replies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.blobs import BlobExchange
from agent.errors import BlobError, Unreachable
from agent.mesh import Mesh
from agent.model.unixfs import CHUNK
from tests.blobs.conftest import MakeStore
from tests.blobs.data import pattern
from tests.mesh.building import Building


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    made = Building(tmp_path / "building")
    yield made
    await made.close()


def exchange(mesh: Mesh, make_store: MakeStore, readers: set[str]) -> BlobExchange:
    made = BlobExchange(make_store(mesh.me.name), mesh.call, lambda node, cid: node in readers)
    for verb, handler in made.verbs.items():
        mesh.serve(verb, handler)
    return made


async def test_blobs_move_between_nodes_that_may_read_them(building: Building, make_store: MakeStore) -> None:
    hall, porch = await building.pair()
    readers: set[str] = set()
    holder, fetcher = exchange(hall, make_store, readers), exchange(porch, make_store, readers)
    large, small = pattern(40 * CHUNK + 3), pattern(100_000)
    cids = [(await holder._store.put(data))[0] for data in (large, small)]
    for cid in cids:
        with pytest.raises(BlobError) as caught:
            await fetcher.fetch(cid, [hall.me.id], timeout=10)
        assert caught.value.code == "blob.unavailable"
    readers.add(porch.me.id)
    assert await fetcher.have(cids[0], [hall.me.id]) == {hall.me.id: len(large)}
    for cid, data in zip(cids, (large, small), strict=True):
        assert (await fetcher.fetch(cid, [hall.me.id], timeout=20)).read_bytes() == data


async def test_a_holder_that_is_gone_is_unreachable(building: Building, make_store: MakeStore) -> None:
    hall, porch = await building.pair()
    holder, fetcher = exchange(hall, make_store, {porch.me.id}), exchange(porch, make_store, set())
    cid, _ = await holder._store.put(b"photo")
    await building.stop("hall")
    with pytest.raises(Unreachable):
        await fetcher.fetch(cid, [hall.me.id], timeout=20)
