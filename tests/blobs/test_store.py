"""The store: blobs can be read again, survive a restart, and stay within the quota."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agent.blobs import BlobStore, hash_bytes
from agent.blobs import store as store_module
from agent.errors import BlobError
from agent.model.cid import raw_cid
from agent.model.unixfs import CHUNK
from tests.blobs.conftest import MakeStore
from tests.blobs.data import pattern

KB = 1000


def temporary_files(store: BlobStore) -> list[Path]:
    return list((store.root / "tmp").iterdir())


async def test_a_blob_that_was_put_can_be_read(make_store: MakeStore) -> None:
    store = make_store()
    for data in (b"", b"x", pattern(CHUNK), pattern(3 * CHUNK + 7)):
        cid, size = await store.put(data)
        assert (cid, size) == (hash_bytes(data).cid, len(data))
        assert store.has(cid)
        assert await store.read(cid) == data
        assert store.path(cid).read_bytes() == data
        assert await store.leaves(cid) == (hash_bytes(data).leaves, size)
    assert store.usage().count == 4


async def test_the_small_blobs_stored_last_are_read_from_memory(make_store: MakeStore) -> None:
    store = make_store()
    cids = [(await store.put(pattern(n)))[0] for n in range(1, store_module.FRESH + 2)]
    await store.put(pattern(store_module.FRESH_SIZE + 1))
    assert list(store._fresh) == cids[1:]
    assert await store.read(cids[1]) is store._fresh[cids[1]]
    await store.delete(cids[1])
    assert list(store._fresh) == cids[2:]
    with pytest.raises(BlobError):
        await store.read(cids[1])


async def test_bytes_files_and_descriptors_get_the_same_name(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    data = pattern(2 * CHUNK + 5)
    file = tmp_path / "file"
    file.write_bytes(data)
    with file.open("rb") as opened:
        by_fd = await store.put_fd(opened.fileno(), limit=len(data))
    assert by_fd == await store.put(data) == await store.put_file(file)
    assert store.usage().count == 1
    assert store.usage().bytes == len(data)


async def test_blobs_are_read_only_files_in_a_private_folder(make_store: MakeStore) -> None:
    store = make_store()
    cid, _ = await store.put(b"photo")
    assert store.path(cid).stat().st_mode & 0o777 == 0o444
    assert store.root.stat().st_mode & 0o077 == 0
    assert store.contents() == {cid: 5}
    assert temporary_files(store) == []


@contextmanager
def mounted(disk: Path, *what: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk.mkdir()
    if subprocess.run(["mount", "-t", *what, str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with mounted(tmp_path / "disk", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        yield disk


async def test_a_blob_larger_than_the_disk_is_refused_at_once(make_store: MakeStore, small_disk: Path) -> None:
    store = make_store(str(small_disk / "blobs"))
    cid = hash_bytes(pattern(2 * CHUNK)).cid
    with pytest.raises(BlobError) as caught:
        await store.begin(cid, 1 << 20)
    assert caught.value.code == "blob.disk"
    (await store.begin(cid, 2 * CHUNK)).close()
    store.close()


async def test_the_arrived_part_of_a_blob_needs_no_second_room(make_store: MakeStore, small_disk: Path) -> None:
    store, data = make_store(str(small_disk / "blobs")), pattern(2 * CHUNK)
    hashed = hash_bytes(data)
    incoming = await store.begin(hashed.cid, len(data))
    incoming.leaves = hashed.leaves
    with pytest.raises(BlobError, match="no room"):
        await store.put(b"x" * 600 * KB)  # the other half is still to come
    await store.verify_into(incoming, 0, data[:CHUNK])
    with pytest.raises(BlobError, match="no room"):
        await store.put(b"x" * 600 * KB)
    await store.put(b"x" * 300 * KB)
    await store.verify_into(incoming, 1, data[CHUNK:])
    await store.commit(incoming)
    assert await store.read(hashed.cid) == data
    store.close()


async def test_a_full_disk_evicts_old_blobs_but_none_in_vain(make_store: MakeStore, small_disk: Path) -> None:
    store = make_store(str(small_disk / "blobs"))
    pinned, _ = await store.put(b"a" * 300 * KB, owner="event")
    loose, _ = await store.put(b"b" * 300 * KB)
    with pytest.raises(BlobError) as caught:
        await store.put(b"c" * 800 * KB)
    assert caught.value.code == "blob.disk"
    assert store.has(loose)
    came, _ = await store.put(b"d" * 500 * KB)
    assert [store.has(cid) for cid in (pinned, loose, came)] == [True, False, True]
    store.close()


async def test_a_disk_that_tells_no_size_has_room(make_store: MakeStore, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ramfs", "ramfs") as disk:
        store = make_store(str(disk / "blobs"))
        cid, _ = await store.put(b"photo")
        assert store.has(cid)
        store.close()


async def test_a_file_above_its_limit_is_refused_and_leaves_nothing(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    with file.open("rb") as opened:
        with pytest.raises(BlobError) as caught:
            await store.put_fd(opened.fileno(), limit=99)
        assert caught.value.code == "blob.too-large"
    assert store.usage().count == 0
    assert temporary_files(store) == []


async def test_a_source_that_grows_while_it_is_read_is_still_bounded(make_store: MakeStore) -> None:
    store = make_store()
    reader, writer = os.pipe()
    try:
        os.write(writer, bytes(2 * KB))
        os.close(writer)
        with pytest.raises(BlobError) as caught:
            await store.put_fd(reader, limit=KB)
    finally:
        os.close(reader)
    assert caught.value.code == "blob.too-large"
    assert temporary_files(store) == []


async def test_a_blob_that_is_not_here_is_a_clear_error(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    cid = raw_cid(b"elsewhere")
    assert not store.has(cid)
    for attempt in (store.read(cid), store.leaves(cid), store.read_at(cid, 0, 1)):
        with pytest.raises(BlobError) as caught:
            await attempt
        assert caught.value.code == "blob.missing"
    with pytest.raises(BlobError):
        store.path(cid)
    with pytest.raises(BlobError) as caught:
        await store.put_file(tmp_path / "nothing")
    assert caught.value.code == "blob.disk"


async def test_a_name_that_is_no_cid_never_reaches_the_disk(make_store: MakeStore) -> None:
    store = make_store()
    for call in (store.has, store.path, store.size):
        with pytest.raises(BlobError):
            call("../index.sqlite")
    with pytest.raises(BlobError):
        await store.delete("../index.sqlite")


async def test_a_full_quota_lets_the_least_recently_used_go(make_store: MakeStore) -> None:
    store = make_store(quota=10 * KB)
    old, used, new = [(await store.put(bytes([i]) * 3 * KB))[0] for i in range(3)]
    await store.read(old)
    await store.put(b"y" * 3 * KB)
    assert (store.has(old), store.has(used), store.has(new)) == (True, False, True)
    assert store.usage().bytes == 9 * KB


async def test_a_pinned_blob_is_never_evicted(make_store: MakeStore) -> None:
    store = make_store(quota=10 * KB)
    kept, _ = await store.put(b"a" * 6 * KB, owner="event-1")
    store.pin(kept, "alert-1")
    with pytest.raises(BlobError) as caught:
        await store.put(b"b" * 6 * KB)
    assert caught.value.code == "blob.quota"
    assert "quota" in caught.value.hint
    store.unpin("event-1")
    with pytest.raises(BlobError):
        await store.put(b"b" * 6 * KB)
    store.unpin("alert-1")
    await store.put(b"b" * 6 * KB)
    assert not store.has(kept)
    assert store.usage().bytes == 6 * KB


async def test_a_refused_put_evicts_nothing(make_store: MakeStore) -> None:
    store = make_store(quota=10 * KB)
    loose, _ = await store.put(b"a" * 4 * KB)
    await store.put(b"b" * 4 * KB, owner="event")
    with pytest.raises(BlobError):
        await store.put(b"c" * 8 * KB)
    assert store.has(loose)


async def test_puts_side_by_side_do_not_exceed_the_quota(make_store: MakeStore) -> None:
    store = make_store(quota=10 * KB)
    puts = (store.put(bytes([i]) * 3 * KB, owner="event") for i in range(8))
    results = await asyncio.gather(*puts, return_exceptions=True)
    stored = [r for r in results if not isinstance(r, BaseException)]
    assert 1 <= len(stored) <= 3
    assert store.usage().bytes == len(stored) * 3 * KB
    refused = [r for r in results if isinstance(r, BlobError)]
    assert len(refused) == 8 - len(stored)


async def test_deleting_spares_what_is_pinned(make_store: MakeStore) -> None:
    store = make_store()
    cid, _ = await store.put(b"photo", owner="event")
    await store.delete(cid)
    assert store.has(cid)
    store.unpin("event")
    await store.delete(cid)
    assert not store.has(cid)
    assert store.usage().count == store.usage().bytes == 0
    await store.delete(cid)


async def test_a_pin_may_come_before_its_blob(make_store: MakeStore) -> None:
    store = make_store()
    cid = raw_cid(b"soon")
    store.pin(cid, "event")
    assert store.usage().pinned == 0
    await store.put(b"soon")
    await store.delete(cid)
    assert store.has(cid)
    assert store.usage().pinned == 1


async def test_blobs_survive_a_restart_and_half_written_ones_are_swept(make_store: MakeStore) -> None:
    first = make_store()
    cid, _ = await first.put(pattern(2 * CHUNK))
    first.close()
    (first.root / "tmp" / "half").write_bytes(b"ha")
    again = make_store()
    assert await again.read(cid) == pattern(2 * CHUNK)
    assert again.usage().bytes == 2 * CHUNK
    assert temporary_files(again) == []


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100, None])
async def test_a_damaged_index_is_rebuilt_from_the_files(make_store: MakeStore, damage: bytes | None) -> None:
    first = make_store()
    data = pattern(2 * CHUNK + 1)
    cid, size = await first.put(data)
    first.close()
    index = first.root / "index.sqlite"
    if damage is None:
        index.unlink()
    else:
        index.write_bytes(damage)
    again = make_store()
    assert again.usage().bytes == size
    assert await again.leaves(cid) == (hash_bytes(data).leaves, size)
    await again.delete(cid)
    assert again.usage().count == 0


async def test_an_index_of_the_first_format_keeps_what_it_knows(make_store: MakeStore) -> None:
    """index-v0.sql was dumped by the first version of the agent and never changes."""
    first = make_store()
    used, other = (await first.put(b"photo"))[0], (await first.put(b"another"))[0]
    first.close()
    index = first.root / "index.sqlite"
    index.unlink()
    with closing(sqlite3.connect(index)) as db:
        db.executescript((Path(__file__).parent / "index-v0.sql").read_text())
    again = make_store(quota=14)
    assert await again.leaves(used) == (hash_bytes(b"photo").leaves, 5)
    await again.put(b"one")
    assert (again.has(used), again.has(other)) == (True, False)


async def test_an_index_of_a_newer_agent_is_made_again(make_store: MakeStore) -> None:
    first = make_store()
    cid, _ = await first.put(b"photo")
    first.close()
    with closing(sqlite3.connect(first.root / "index.sqlite")) as db:
        db.execute("PRAGMA user_version=2")
    again = make_store()
    assert again.usage().bytes == 5
    assert await again.read(cid) == b"photo"


async def test_an_index_that_cannot_be_made_is_an_error_with_a_hint(make_store: MakeStore) -> None:
    first = make_store()
    first.close()
    index = first.root / "index.sqlite"
    index.unlink()
    index.mkdir()
    with pytest.raises(BlobError) as caught:
        make_store()
    assert caught.value.code == "blob.disk"
    assert caught.value.hint


async def test_an_index_that_cannot_be_written_is_an_error_with_a_hint(make_store: MakeStore) -> None:
    store = make_store()
    store._index._db.close()
    (store.root / "index.sqlite").rename(store.root / "away")
    (store.root / "index.sqlite").mkdir()
    with pytest.raises(BlobError) as caught:
        await store.put(b"photo")
    assert caught.value.code == "blob.disk"
    (store.root / "index.sqlite").rmdir()
    cid, _ = await store.put(b"another")
    assert store.has(cid)


async def test_an_index_damaged_while_it_is_open_is_rebuilt(make_store: MakeStore) -> None:
    store = make_store()
    cid, _ = await store.put(b"before")
    store._index._db.execute("DROP TABLE blobs")
    other, _ = await store.put(b"after")
    assert store.has(cid)
    assert store.has(other)
    await store.delete(cid)
    assert not store.has(cid)


async def test_files_unknown_to_the_index_count_after_a_restart(make_store: MakeStore) -> None:
    first = make_store()
    await first.put(b"one")
    first.close()
    (first.root / "files" / raw_cid(b"another")).write_bytes(b"another")
    again = make_store()
    assert again.usage().count == 2
    assert again.usage().bytes == len(b"one") + len(b"another")


async def test_a_file_damaged_on_disk_does_not_pass_for_the_blob(make_store: MakeStore) -> None:
    first = make_store()
    cid, _ = await first.put(pattern(CHUNK + 1))
    first.close()
    (first.root / "index.sqlite").unlink()
    file = first.root / "files" / cid
    file.chmod(0o640)
    file.write_bytes(bytes(CHUNK + 1))
    with pytest.raises(BlobError) as caught:
        await make_store().leaves(cid)
    assert caught.value.code == "blob.damaged"


async def test_a_full_disk_is_an_error_with_a_hint(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_module, "write_all", full)
    with pytest.raises(BlobError) as caught:
        await store.put(b"x")
    assert caught.value.code == "blob.disk"
    assert "free" in caught.value.hint
    assert temporary_files(store) == []
    monkeypatch.undo()
    await store.put(b"x")


async def test_the_folder_is_synced_before_a_put_returns(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    seen: list[set[str]] = []
    sync = store_module.sync_folder

    def watched(folder: Path) -> None:
        seen.append({p.name for p in folder.iterdir()})
        sync(folder)

    monkeypatch.setattr(store_module, "sync_folder", watched)
    cids = await asyncio.gather(*(store.put(bytes([i])) for i in range(40)))
    assert {cid for cid, _ in cids} == seen[-1]
    assert len(seen) < 40


async def test_equal_bytes_put_at_once_are_one_blob(make_store: MakeStore) -> None:
    store = make_store()
    puts = await asyncio.gather(*(store.put(b"same" * 1000) for _ in range(20)))
    assert len(set(puts)) == 1
    assert store.usage().count == 1
    assert store.usage().bytes == 4000
    assert temporary_files(store) == []


async def test_other_files_of_the_file_system_are_not_blobs(make_store: MakeStore) -> None:
    for name in (".nfs0001", "lost+found"):
        (make_store().root / "files" / name).mkdir()
    store = make_store(quota=10)
    assert store.contents() == {}
    assert store.usage().count == 0
    await store.put(b"0123456789")
    cid, _ = await store.put(b"9876543210")
    assert store.contents() == {cid: 10}


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 7])
async def test_a_stream_gets_the_name_of_its_bytes(make_store: MakeStore, size: int) -> None:
    store, data = make_store(), pattern(size)
    pieces = [data[at : at + 100_001] for at in range(0, size, 100_001)]
    assert await store.put_stream(iter(pieces), room=10) == (hash_bytes(data).cid, size)
    assert await store.read(hash_bytes(data).cid) == data
    assert await store.leaves(hash_bytes(data).cid) == (hash_bytes(data).leaves, size)
    assert temporary_files(store) == []


async def test_a_stream_that_ends_with_an_error_leaves_nothing(make_store: MakeStore) -> None:
    store = make_store()

    def broken() -> Iterator[bytes]:
        yield pattern(2 * CHUNK)
        raise BlobError("the engine went away", code="blob.missing")

    with pytest.raises(BlobError, match="went away"):
        await store.put_stream(broken(), room=10)
    assert (temporary_files(store), store.contents(), store._reserved) == ([], {}, 0)


async def test_a_stream_keeps_to_quota_and_limit(make_store: MakeStore) -> None:
    store = make_store(quota=32 << 20)

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with pytest.raises(BlobError) as full:
        await store.put_stream(endless(), room=1 << 20)
    with pytest.raises(BlobError) as large:
        await store.put_stream(endless(), room=1, limit=3 << 20)
    assert (full.value.code, large.value.code) == ("blob.quota", "blob.too-large")
    assert (temporary_files(store), store.contents(), store._reserved) == ([], {}, 0)
