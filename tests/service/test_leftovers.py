"""Blobs of an earlier life that nothing names go at the start; what is needed, a module, or added by hand stays."""

from __future__ import annotations

from pathlib import Path

from agent.blobs import BlobStore
from agent.service.leftovers import Added, sweep


async def test_only_what_nothing_names_is_deleted(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", 1 << 20)
    try:
        needed, module, by_hand, pinned, orphan = [
            (await store.put(content))[0] for content in (b"needed", b"\0asm module", b"by hand", b"pinned", b"photo")
        ]
        store.pin(pinned, "somebody")
        await Added(tmp_path / "added").note(by_hand)
        assert await sweep(store, Added(tmp_path / "added"), lambda cid: cid == needed) == 1
        assert store.contents().keys() == {needed, module, by_hand, pinned}
        assert not store.has(orphan)
    finally:
        store.close()


async def test_a_list_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert Added(tmp_path / "added").all() == set()
