"""Blobs between their creation and the journal's commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.blobs import BlobStore, GivesWay
from agent.errors import BlobError
from agent.node.fresh import FreshBlobs
from tests.support import eventually


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[BlobStore]:
    made = BlobStore(tmp_path / "blobs", 1 << 20)
    yield made
    await asyncio.to_thread(made.close)


def fresh_blobs(store: BlobStore, names: Names) -> FreshBlobs:
    store.needs.add(names)
    return FreshBlobs(store, names)


class Names:
    """A journal with these rows: CID by number."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.closed: set[int] = set()

    def add(self, cid: str) -> None:
        self.rows[len(self.rows) + 1] = cid

    def mark(self) -> int:
        return len(self.rows) + 1

    def named_since(self, cid: str, mark: int) -> bool:
        return any(c == cid and n >= mark for n, c in self.rows.items())

    gives_way: GivesWay = "never"

    def may_read(self, node_id: str, cid: str) -> bool:
        return False

    def needs(self, cid: str) -> bool:
        return any(c == cid and n not in self.closed for n, c in self.rows.items())


async def test_the_end_of_another_event_spares_a_blob_just_made_again(store: BlobStore) -> None:
    names = Names()
    fresh = fresh_blobs(store, names)
    cid, _ = await fresh.put(b"nothing moves here")
    names.add(cid)
    await fresh.let_go(0.0)
    await fresh.put(b"nothing moves here")
    names.closed.add(1)
    await store.delete(cid)  # the earlier event with the same photo ends
    await fresh.let_go(0.0)
    assert store.has(cid)
    names.add(cid)
    await fresh.let_go(0.0)
    assert store.has(cid)
    assert not store.needs.pins.needs(cid)


async def test_a_blob_that_its_event_needs_no_more_goes_at_once(store: BlobStore) -> None:
    names = Names()
    fresh = fresh_blobs(store, names)
    cid, _ = await fresh.put(b"a cat")
    names.add(cid)
    names.closed.add(1)
    await fresh.let_go(0.0)
    assert not store.has(cid)


async def test_a_blob_that_no_event_names_is_deleted(store: BlobStore, tmp_path: Path) -> None:
    fresh = fresh_blobs(store, Names())
    cid, _ = await fresh.put(b"of a program that failed")
    file = tmp_path / "out"
    file.write_bytes(b"another")
    with file.open("rb") as f:
        other, _ = await fresh.put_fd(f.fileno(), limit=100)
    await fresh.let_go(0.0)
    assert store.has(cid)
    await fresh.let_go(asyncio.get_running_loop().time())
    assert not store.has(cid)
    assert not store.has(other)
    assert store.usage().pinned == 0


async def test_a_blob_that_cannot_be_deleted_keeps_no_other(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fresh, delete = fresh_blobs(store, Names()), store.delete
    first, second = [(await fresh.put(content))[0] for content in (b"first", b"second")]

    async def failing(cid: str) -> None:
        if cid == first:
            raise BlobError("blob store: Too many open files", code="blob.disk")
        await delete(cid)

    monkeypatch.setattr(store, "delete", failing)
    await fresh.let_go(asyncio.get_running_loop().time())
    assert not store.has(second)
    assert store.usage().pinned == 0
    assert caplog.text.count(f"{first} could not be deleted; trying again later") == 1
    store.retry()
    monkeypatch.setattr(store, "delete", delete)
    store.retry()
    await eventually(lambda: not store.has(first))
    assert caplog.text.count("could not be deleted") == 1
