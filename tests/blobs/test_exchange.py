"""Blobs between stores: only to those who may read, only verified bytes, one holder after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from agent.blobs import BlobExchange, hash_bytes
from agent.blobs.wire import GET, HAVE, MAX_RANGE, TREE, Ask, Get, encode
from agent.errors import BlobError, Refused, Unreachable
from agent.model.cid import raw_cid
from agent.model.unixfs import CHUNK
from tests.blobs.conftest import MakeStore
from tests.blobs.data import pattern


class Node:
    """The node that asks."""

    def __init__(self, node_id: str) -> None:
        self.id = node_id


class Wire:
    """Verbs of several nodes, called as the mesh calls them; tests bend it by overriding `deliver`."""

    def __init__(self, make_store: MakeStore) -> None:
        self._make_store = make_store
        self.nodes: dict[str, BlobExchange] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.readers: set[str] | None = None

    def add(self, name: str, quota: int = 1 << 30) -> BlobExchange:
        async def call(node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes:
            self.calls[node_id, verb] += 1
            return await self.deliver(name, node_id, verb, body)

        def may_read(node: str, cid: str) -> bool:
            return self.readers is None or node in self.readers

        self.nodes[name] = BlobExchange(self._make_store(name, quota), call, may_read)
        return self.nodes[name]

    async def deliver(self, sender: str, node: str, verb: str, body: bytes) -> bytes:
        if node not in self.nodes:
            raise Unreachable(f"{node} is not linked")
        return await self.nodes[node].verbs[verb](Node(sender), body)


@pytest.fixture
def wire(make_store: MakeStore) -> Wire:
    return Wire(make_store)


SIZES = [0, 1, CHUNK, CHUNK + 1, 9 * CHUNK + 11, 40 * CHUNK]


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_arrives_whole_and_is_kept(wire: Wire, size: int) -> None:
    a, b = wire.add("a"), wire.add("b")
    data = pattern(size)
    cid, _ = await a._store.put(data)
    path = await b.fetch(cid, ["a"], timeout=10)
    assert path.read_bytes() == data
    assert path == b._store.path(cid)
    assert await b._store.leaves(cid) == (hash_bytes(data).leaves, size)
    calls = wire.calls.total()
    await b.fetch(cid, ["a"], timeout=10)
    assert wire.calls.total() == calls
    assert list((b._store.root / "tmp").iterdir()) == []


async def test_a_photo_costs_one_round_trip(wire: Wire) -> None:
    a, b = wire.add("a"), wire.add("b")
    cid, _ = await a._store.put(pattern(100_000))
    await b.fetch(cid, ["a"], timeout=10)
    assert wire.calls == {("a", GET): 1}


async def test_who_may_not_read_sees_what_a_stranger_to_the_blob_sees(wire: Wire) -> None:
    a, b = wire.add("a"), wire.add("b")
    here, _ = await a._store.put(pattern(2 * CHUNK))
    nowhere = hash_bytes(pattern(3 * CHUNK)).cid
    wire.readers = {"c"}
    for cid in (here, nowhere, "no cid"):
        for verb, ask in ((HAVE, Ask(cid)), (TREE, Ask(cid)), (GET, Get(cid, 0, 10))):
            assert await a.verbs[verb](Node("b"), encode(ask)) == b""
    assert await a.verbs[HAVE](Node("c"), encode(Ask(here))) != b""
    with pytest.raises(BlobError) as caught:
        await b.fetch(here, ["a"], timeout=10)
    assert caught.value.code == "blob.unavailable"
    assert await b.have(here, ["a"]) == {}


async def test_have_names_the_holders_although_others_are_absent(wire: Wire) -> None:
    a, b = wire.add("a"), wire.add("b")
    wire.add("c")
    cid, size = await a._store.put(b"photo")
    assert await b.have(cid, ["gone", "c", "a"]) == {"a": size}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" * 20,
        b"x" * 10_000,
        msgspec.msgpack.encode({"cid": 5, "offset": 0, "length": 1}),
        encode(Get("x", -1, 10)),
        encode(Get("x", 0, 0)),
        encode(Get("x", 0, MAX_RANGE + 1)),
    ],
)
async def test_malformed_requests_are_refused(wire: Wire, body: bytes) -> None:
    with pytest.raises(Refused):
        await wire.add("a").verbs[GET](Node("b"), body)


@pytest.mark.parametrize("size", [100, 20 * CHUNK + 5])
async def test_after_wrong_bytes_the_next_holder_is_used(
    wire: Wire, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    a, liar, b = wire.add("a"), wire.add("liar"), wire.add("b")
    data = pattern(size)
    cid, _ = await a._store.put(data)
    await liar._store.put(data)
    honest = wire.deliver

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        reply = await honest(sender, node, verb, body)
        if node == "liar" and verb == GET and len(reply) > 50:
            return reply[:-1] + bytes([reply[-1] ^ 1])
        return reply

    wire.deliver = deliver  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        path = await b.fetch(cid, ["liar", "a"], timeout=10)
    assert path.read_bytes() == data
    assert b.counters.wrong == 1
    assert [r.getMessage() for r in caplog.records if "liar" in r.getMessage()] != []
    assert len(caplog.records) == 1


@pytest.mark.parametrize("bent", [b"", b"junk", b"\x00" * 200, b"x" * 2_000_000])
@pytest.mark.parametrize("verb", [TREE, GET])
async def test_any_reply_of_a_bad_holder_is_survived(wire: Wire, bent: bytes, verb: str) -> None:
    a, bad, b = wire.add("a"), wire.add("bad"), wire.add("b")
    data = pattern(3 * CHUNK)
    cid, _ = await a._store.put(data)
    await bad._store.put(data)
    honest = wire.deliver

    bad_verb = verb

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        return bent if (node, verb) == ("bad", bad_verb) else await honest(sender, node, verb, body)

    wire.deliver = deliver  # type: ignore[method-assign]
    assert (await b.fetch(cid, ["bad", "a"], timeout=10)).read_bytes() == data


async def test_a_tree_of_another_blob_is_refused(wire: Wire) -> None:
    a, bad, b = wire.add("a"), wire.add("bad"), wire.add("b")
    cid, _ = await a._store.put(pattern(3 * CHUNK))
    other, _ = await bad._store.put(bytes(3 * CHUNK))
    honest = wire.deliver

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        if node == "bad" and verb == TREE:
            return await honest(sender, node, verb, encode(Ask(other)))
        return await honest(sender, node, verb, body)

    wire.deliver = deliver  # type: ignore[method-assign]
    await b.fetch(cid, ["bad", "a"], timeout=10)
    assert wire.calls["bad", GET] == 0


async def test_the_next_holder_goes_on_where_the_last_one_died(wire: Wire) -> None:
    a, dies, b = wire.add("a"), wire.add("dies"), wire.add("b")
    data = pattern(40 * CHUNK)
    cid, _ = await a._store.put(data)
    await dies._store.put(data)
    honest, served = wire.deliver, Counter[str]()

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        reply = await honest(sender, node, verb, body)
        if verb == GET:
            if node == "dies" and served["dies"] > 20 * CHUNK:
                raise Unreachable("dies died")
            served[node] += len(reply)
        return reply

    wire.deliver = deliver  # type: ignore[method-assign]
    assert (await b.fetch(cid, ["dies", "a"], timeout=10)).read_bytes() == data
    assert 20 * CHUNK < served["dies"] < len(data)
    assert served["a"] < 20 * CHUNK


async def test_a_later_fetch_goes_on_where_the_last_one_stopped(wire: Wire) -> None:
    a, b = wire.add("a"), wire.add("b")
    data = pattern(40 * CHUNK)
    cid, _ = await a._store.put(data)
    honest, allowed, served = wire.deliver, [20 * CHUNK], Counter[str]()

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        reply = await honest(sender, node, verb, body)
        if verb == GET:
            if served[node] > allowed[0]:
                raise Unreachable("link lost")
            served[node] += len(reply)
        return reply

    wire.deliver = deliver  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        await b.fetch(cid, ["a"], timeout=10)
    assert not b._store.has(cid)
    allowed[0] = 1 << 30
    assert (await b.fetch(cid, ["a"], timeout=10)).read_bytes() == data
    assert served["a"] < len(data) + MAX_RANGE * 4
    assert wire.calls["a", TREE] == 1


async def test_a_silent_holder_ends_in_a_timeout_that_says_so(wire: Wire) -> None:
    b = wire.add("b")

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    wire.deliver = deliver  # type: ignore[method-assign]
    with pytest.raises(Unreachable) as caught:
        await b.fetch(raw_cid(b"x"), ["silent"], timeout=0.05)
    assert "silent" in caught.value.message


async def test_nobody_to_ask_is_an_error(wire: Wire) -> None:
    b = wire.add("b")
    with pytest.raises(BlobError) as caught:
        await b.fetch(raw_cid(b"x"), [], timeout=1)
    assert caught.value.code == "blob.unavailable"
    with pytest.raises(Unreachable):
        await b.fetch(raw_cid(b"x"), ["gone", "gone too"], timeout=1)


@pytest.mark.parametrize("size", [1000, 10 * CHUNK])
async def test_fetches_at_once_share_one_transfer(wire: Wire, size: int) -> None:
    a, b = wire.add("a"), wire.add("b")
    cid, _ = await a._store.put(pattern(size))
    paths = await asyncio.gather(*(b.fetch(cid, ["a"], timeout=10) for _ in range(20)))
    assert len(set(paths)) == 1
    assert a.counters.bytes_out == size
    assert b._turns == {}


async def test_waiting_callers_share_a_failure_but_no_cancellation(wire: Wire) -> None:
    a, b = wire.add("a"), wire.add("b")
    cid, _ = await a._store.put(b"photo")
    gate = asyncio.Event()
    honest = wire.deliver

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        await gate.wait()
        return await honest(sender, node, verb, body)

    wire.deliver = deliver  # type: ignore[method-assign]
    failing = [asyncio.create_task(b.fetch(raw_cid(b"?"), ["gone"], timeout=10)) for _ in range(5)]
    leader = asyncio.create_task(b.fetch(cid, ["a"], timeout=10))
    await asyncio.sleep(0)
    follower = asyncio.create_task(b.fetch(cid, ["a"], timeout=10))
    await asyncio.sleep(0)
    leader.cancel()
    gate.set()
    assert (await follower).read_bytes() == b"photo"
    results = await asyncio.gather(*failing, return_exceptions=True)
    assert all(isinstance(r, Unreachable) for r in results)
    assert wire.calls["gone", GET] == 1


async def test_a_blob_that_cannot_fit_is_not_asked_of_every_holder(wire: Wire) -> None:
    a, c = wire.add("a"), wire.add("c")
    b = wire.add("b", quota=CHUNK)
    for node in (a, c):
        cid, _ = await node._store.put(pattern(10 * CHUNK))
    with pytest.raises(BlobError) as caught:
        await b.fetch(cid, ["a", "c"], timeout=10)
    assert caught.value.code == "blob.quota"
    assert wire.calls == {("a", TREE): 1}


@pytest.mark.parametrize("declared", [-1, 1])
@pytest.mark.parametrize("size", [100, CHUNK, 40 * CHUNK])
async def test_a_blob_of_another_size_than_declared_is_not_taken(wire: Wire, size: int, declared: int) -> None:
    a, b = wire.add("a"), wire.add("b")
    cid, _ = await a._store.put(pattern(size))
    with pytest.raises(BlobError) as caught:
        await b.fetch(cid, ["a"], timeout=10, size=size + declared)
    assert caught.value.code == "blob.size"
    assert a.counters.bytes_out <= CHUNK
    assert not b._store.has(cid)
    assert b.counters.wrong == 0
    path = await b.fetch(cid, ["a"], timeout=10, size=size)
    assert path.stat().st_size == size
    with pytest.raises(BlobError, match="declared"):
        await b.fetch(cid, ["a"], timeout=10, size=size + declared)


async def test_a_false_size_does_not_spoil_the_fetch_of_one_who_waits(wire: Wire) -> None:
    a, b = wire.add("a"), wire.add("b")
    cid, size = await a._store.put(pattern(3 * CHUNK))
    false, true = await asyncio.gather(
        b.fetch(cid, ["a"], timeout=10, size=1), b.fetch(cid, ["a"], timeout=10, size=size), return_exceptions=True
    )
    assert isinstance(false, BlobError)
    assert isinstance(true, Path)


async def test_a_fetched_blob_is_pinned_for_its_owner(wire: Wire) -> None:
    a, b = wire.add("a"), wire.add("b")
    for size in (10, 2 * CHUNK):
        cid, _ = await a._store.put(pattern(size))
        await b.fetch(cid, ["a"], timeout=10, owner="event")
        await b._store.delete(cid)
        assert b._store.has(cid)


async def test_closing_drops_what_was_broken_off(wire: Wire, tmp_path: Path) -> None:
    a, b = wire.add("a"), wire.add("b")
    cid, _ = await a._store.put(pattern(40 * CHUNK))
    honest, count = wire.deliver, Counter[str]()

    async def deliver(sender: str, node: str, verb: str, body: bytes) -> bytes:
        count[verb] += 1
        if count[GET] > 6:
            raise Unreachable("link lost")
        return await honest(sender, node, verb, body)

    wire.deliver = deliver  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        await b.fetch(cid, ["a"], timeout=10)
    assert len(list((tmp_path / "b" / "tmp").iterdir())) == 1
    b.close()
    assert list((tmp_path / "b" / "tmp").iterdir()) == []
    assert b._store._reserved == 0
