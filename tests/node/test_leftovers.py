"""The start deletes blobs of an earlier run, except needed blobs, modules, and blobs added by hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agent.blobs import BlobStore, ByHand, GivesWay
from agent.node.leftovers import sweep


class Rows:
    """A journal whose only row needs this blob."""

    gives_way: GivesWay = "never"

    def __init__(self, cid: str) -> None:
        self.cid = cid

    def needs(self, cid: str) -> bool:
        return cid == self.cid

    def may_read(self, node_id: str, cid: str) -> bool:
        return False


def added(store: BlobStore, folder: Path) -> ByHand:
    """The list as a new agent reads it."""
    made = ByHand(folder / "added")
    store.needs.add(made)
    return made


async def test_only_blobs_that_nothing_needs_are_deleted(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", 1 << 20)
    try:
        needed, module, by_hand, pinned, orphan = [
            (await store.put(content))[0] for content in (b"needed", b"\0asm module", b"by hand", b"pinned", b"photo")
        ]
        store.pin(pinned, "somebody")
        await ByHand(tmp_path / "added").note(by_hand)
        store.needs.add(Rows(needed))
        assert await sweep(store, added(store, tmp_path)) == 1
        assert store.contents().keys() == {needed, module, by_hand, pinned}
        assert not store.has(orphan)
    finally:
        store.close()


async def test_a_list_that_was_never_written_is_empty(tmp_path: Path) -> None:
    by_hand = ByHand(tmp_path / "added")
    await by_hand.load()
    assert by_hand._cids == set()


async def test_a_blob_that_cannot_be_read_stays_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = BlobStore(tmp_path / "blobs", 1 << 20)
    cids = [(await store.put(content))[0] for content in (b"one", b"two", b"three")]
    damaged, pread = store.path(cids[1]).stat().st_ino, os.pread

    def failing(fd: int, length: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == damaged:
            raise OSError(5, "Input/output error")
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", failing)
    try:
        assert await sweep(store, added(store, tmp_path)) == 2
        assert store.contents().keys() == {cids[1]}
        assert f"{cids[1]} from the previous run stays" in caplog.text
    finally:
        store.close()


@pytest.mark.parametrize("unreadable", ["added", "blobs"])
async def test_nothing_is_deleted_when_a_list_cannot_be_read(
    tmp_path: Path, unreadable: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = BlobStore(tmp_path / "blobs", 1 << 20)
    cid, _ = await store.put(b"photo")
    if unreadable == "added":
        (tmp_path / "added").write_bytes(b"\xff")
    else:
        shutil.move(tmp_path / "blobs" / "files", tmp_path / "away")
    try:
        assert await sweep(store, added(store, tmp_path)) == 0
        assert store.has(cid) or (tmp_path / "away" / cid).exists()
        assert "skipping the clean-up of blobs from the previous run" in caplog.text
    finally:
        store.close()
