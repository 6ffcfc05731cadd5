"""Photos that are kept for a match make room for new photos: a full quota is a ring, not a wall."""

from __future__ import annotations

from pathlib import Path

from agent.blobs import BlobStore
from agent.delivery.table import KeptPhotos, Table

KB = 1000


async def test_a_full_quota_evicts_the_oldest_kept_photo(tmp_path: Path) -> None:
    store, table = BlobStore(tmp_path, 10 * KB), Table()
    store.needs.add(table)
    store.needs.add(KeptPhotos(table))
    photos = []
    for n in range(12):
        cid, _ = await store.put(bytes([n]) * 3 * KB)
        table.kept[cid] = 1e9
        photos.append(cid)
    assert [store.has(cid) for cid in photos] == [False] * 9 + [True] * 3
    await store.delete(photos[-1])
    assert store.has(photos[-1])
    assert store.usage().pinned == 0
    store.close()
