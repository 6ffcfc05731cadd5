"""The registry of needs: nothing that one of them needs is deleted or evicted, and each says which nodes may read."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.blobs import BlobStore, ByHand, GivesWay, Registry
from agent.errors import BlobError
from tests.blobs.conftest import MakeStore
from tests.support import eventually

KB = 1000


class Fixed:
    """A need for these blobs, which lets these nodes read them."""

    def __init__(self, cids: Iterable[str], readers: Iterable[str] = (), *, gives_way: GivesWay = "never") -> None:
        self.cids, self.readers, self.gives_way = set(cids), set(readers), gives_way

    def needs(self, cid: str) -> bool:
        return cid in self.cids

    def may_read(self, node_id: str, cid: str) -> bool:
        return cid in self.cids and node_id in self.readers


def test_a_blob_is_needed_and_read_when_one_need_says_so() -> None:
    registry = Registry()
    assert not registry.needed("a")
    registry.add(Fixed(["a", "b"], ["porch"]))
    registry.add(Fixed(["b", "c"], ["garage"]))
    assert [registry.needed(cid) for cid in "abcd"] == [True, True, True, False]
    readers = {cid: [n for n in ("porch", "garage") if registry.may_read(n, cid)] for cid in "abcd"}
    assert readers == {"a": ["porch"], "b": ["porch", "garage"], "c": ["garage"], "d": []}


def test_a_pin_lets_no_other_node_read() -> None:
    registry = Registry()
    registry.pins.pin("a", "delivery")
    assert registry.needed("a")
    assert registry.needed("a", evicting=2)
    assert not registry.may_read("porch", "a")


async def test_a_needed_blob_is_neither_deleted_nor_evicted(make_store: MakeStore) -> None:
    store = make_store(quota=10 * KB)
    kept, _ = await store.put(b"a" * 6 * KB)
    need = Fixed([kept])
    store.needs.add(need)
    await store.delete(kept)
    with pytest.raises(BlobError) as caught:
        await store.put(b"b" * 6 * KB)
    assert caught.value.code == "blob.quota"
    assert store.has(kept)
    assert store.usage().pinned == 1
    need.cids.clear()
    await store.put(b"b" * 6 * KB)
    assert not store.has(kept)


async def test_blobs_that_give_way_go_last_and_are_named(
    make_store: MakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(quota=10 * KB)
    oldest, loose, needed = [(await store.put(bytes([i]) * 3 * KB))[0] for i in range(3)]
    store.needs.add(Fixed([oldest], gives_way="last"))
    store.needs.add(Fixed([needed]))
    await store.put(b"x" * 3 * KB)
    assert [store.has(cid) for cid in (oldest, loose, needed)] == [True, False, True]
    assert not caplog.records
    with pytest.raises(BlobError):
        await store.put(b"y" * 8 * KB)
    assert store.has(oldest)
    await store.put(b"z" * 7 * KB)
    assert [store.has(cid) for cid in (oldest, needed)] == [False, True]
    assert caplog.text.count(oldest) == 1


async def test_blobs_that_give_way_first_go_before_those_that_go_last(make_store: MakeStore) -> None:
    store = make_store(quota=10 * KB)
    by_hand, photo, loose = [(await store.put(bytes([i]) * 3 * KB))[0] for i in range(3)]
    store.needs.add(Fixed([by_hand], gives_way="last"))
    store.needs.add(Fixed([photo], gives_way="first"))
    for content, here in ((b"x", [True, True, False]), (b"y", [True, False, False]), (b"z", [False, False, False])):
        await store.put(content * 3 * KB, owner="row")
        assert [store.has(cid) for cid in (by_hand, photo, loose)] == here
    with pytest.raises(BlobError):
        await store.put(b"!" * 3 * KB)


_ops = st.lists(
    st.tuples(
        st.sampled_from(["put", "put pinned", "pin", "unpin", "need", "drop", "delete", "release", "restart"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(_ops)
async def test_no_sequence_of_calls_loses_a_needed_blob(ops: list[tuple[str, int, int]]) -> None:
    """Four blobs of 2 kB share a quota of two; needs come and go as rows, pins and lists by hand do."""
    with tempfile.TemporaryDirectory() as folder:
        content = {str(n): bytes([n]) * 2 * KB for n in range(4)}
        rows, by_hand = Fixed(()), Fixed((), gives_way="last")
        pins: dict[str, set[str]] = {}
        store = opened(folder, rows, by_hand)
        cids = {name: await cid_of(store, data) for name, data in content.items()}
        here: set[str] = set()
        for op, n, owner in ops:
            name, cid, who = str(n), cids[str(n)], f"owner {owner}"
            match op:
                case "put" | "put pinned":
                    hard = {c for c in here if c in rows.cids or any(c in held for held in pins.values())}
                    if len(hard) == 2 and cid not in here:
                        with pytest.raises(BlobError, match="quota"):
                            await store.put(content[name])
                        continue
                    await store.put(content[name], owner=who if op == "put pinned" else None)
                    here.add(cid)
                    if op == "put pinned":
                        pins.setdefault(who, set()).add(cid)
                case "pin":
                    store.pin(cid, who)
                    pins.setdefault(who, set()).add(cid)
                case "unpin":
                    store.unpin(who)
                    pins.pop(who, None)
                case "need":
                    (rows if owner else by_hand).cids.add(cid)
                case "drop":
                    (rows if owner else by_hand).cids.discard(cid)
                case "delete":
                    await store.delete(cid)
                case "release":
                    await store.release(cids.values())
                case "restart":
                    await asyncio.to_thread(store.close)
                    store = opened(folder, rows, by_hand)
                    pins.clear()
            needed = {c for c in cids.values() if c in rows.cids or any(c in held for held in pins.values())}
            soft = by_hand.cids - needed
            now = set(store.contents())
            assert needed & here <= now
            if op in ("delete", "release"):
                gone = {cid} if op == "delete" else set(cids.values())
                assert now == here - (gone - needed - soft)
            assert {c for c in cids.values() if store.needs.needed(c)} == needed | soft
            assert {c for c in cids.values() if store.pinned(c)} == needed
            assert store.usage().pinned == len(now & needed)
            assert store.stored == 2 * KB * len(now) <= 4 * KB
            here = now
        await asyncio.to_thread(store.close)


def opened(folder: str, *needs: Fixed) -> BlobStore:
    store = BlobStore(Path(folder), 4 * KB)
    for need in needs:
        store.needs.add(need)
    return store


async def cid_of(store: BlobStore, data: bytes) -> str:
    cid, _ = await store.put(data)
    await store.delete(cid)
    return cid


# -- deleting in the background ---------------------------------------------------------------------------------------


@pytest.fixture
async def photo(make_store: MakeStore) -> tuple[BlobStore, str]:
    store = make_store()
    cid, _ = await store.put(b"photo")
    return store, cid


async def test_a_release_waits_until_the_end_is_on_the_disk(photo: tuple[BlobStore, str]) -> None:
    store, cid = photo
    written = asyncio.get_running_loop().create_future()
    released = store.release([cid], after=written)
    await asyncio.sleep(0.05)
    assert store.has(cid)
    written.set_result(None)
    await released
    assert not store.has(cid)


@pytest.mark.parametrize("how", ["failed", "cancelled", "needed again"])
async def test_a_release_deletes_nothing_that_a_restart_would_take_up(photo: tuple[BlobStore, str], how: str) -> None:
    store, cid = photo
    written = asyncio.get_running_loop().create_future()
    released = store.release([cid], after=written)
    if how == "failed":
        written.set_exception(OSError("the disk is full"))
    elif how == "cancelled":
        written.cancel()
    else:
        store.pin(cid, "another event")
        written.set_result(None)
    await released
    assert store.has(cid)


async def test_a_failed_deletion_is_logged_once_and_tried_again(
    photo: tuple[BlobStore, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, cid = photo
    other, _ = await store.put(b"another")
    remove = store._remove

    def failing(name: str) -> None:
        if name == cid:
            raise OSError(5, "Input/output error")
        remove(name)

    monkeypatch.setattr(store, "_remove", failing)
    for _ in range(3):
        await store.release([cid, other])
    assert (store.has(cid), store.has(other)) == (True, False)
    assert caplog.text.count(f"{cid} could not be deleted; trying again later") == 1
    monkeypatch.undo()
    store.retry()
    await eventually(lambda: not store.has(cid))


# -- blobs added by hand ----------------------------------------------------------------------------------------------


async def test_blobs_added_by_hand_are_remembered_and_private(make_store: MakeStore, tmp_path: Path) -> None:
    store, by_hand = make_store(), ByHand(tmp_path / "added")
    store.needs.add(by_hand)
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    for _ in range(2):
        with file.open("rb") as f:
            cid, size = await by_hand.add(store, f.fileno(), 100)
    assert size == 4
    assert (tmp_path / "added").read_text().split() == [cid]
    assert (tmp_path / "added").stat().st_mode & 0o777 == 0o600
    await store.delete(cid)
    assert store.has(cid)
    assert not store.needs.pins.needs(cid)
    assert not store.needs.may_read("porch", cid)
    again = ByHand(tmp_path / "added")
    assert not again.needs(cid)
    await again.load()
    assert again.needs(cid)


async def test_a_blob_that_was_not_remembered_is_not_kept(make_store: MakeStore, tmp_path: Path) -> None:
    store, by_hand = make_store(), ByHand(tmp_path / "no folder" / "added")
    store.needs.add(by_hand)
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    with file.open("rb") as f, pytest.raises(OSError):
        await by_hand.add(store, f.fileno(), 100)
    assert store.usage().pinned == 0


async def test_a_torn_line_spoils_no_other_blob_added_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "added"
    file.write_bytes(b"bafkold\nbafkto")
    by_hand = ByHand(file)
    await by_hand.load()
    await by_hand.note("bafknew")
    again = ByHand(file)
    await again.load()
    assert (again.needs("bafkold"), again.needs("bafknew")) == (True, True)
    file.write_bytes(b"bafkold\n\xff\xfe\n")
    damaged = ByHand(file)
    with pytest.raises(UnicodeError):
        await damaged.load()
    assert damaged.needs("bafkold")
