"""Blobs between nodes: serving them to nodes that may read them, and fetching them from one holder after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent.blobs.faults import not_there, wrong_size
from agent.blobs.hashing import hash_bytes
from agent.blobs.incoming import Incoming, WrongBytes
from agent.blobs.store import BlobStore
from agent.blobs.transfer import CALL_TIMEOUT, Caller, Transfer
from agent.blobs.wire import GET, HAVE, MAX_RANGE, TREE, Ask, Get, Have, Tree, decode, encode
from agent.errors import BlobError, EdgeError, Refused, Unreachable
from agent.model.cid import EMPTY, RAW, parse_cid
from agent.model.unixfs import CHUNK

logger = logging.getLogger(__name__)

SERVED_AT_ONCE = 8
"""Replies under way at once: with MAX_RANGE this bounds the memory that other nodes can make this one use."""
PARKED = 4
PARKED_FOR = 600.0
"""Most interrupted transfers that are kept, and for how many seconds, so that they can continue where they stopped."""


class Peer(Protocol):
    """The node that asks: the mesh's PeerIdentity."""

    @property
    def id(self) -> str: ...


Handler = Callable[[Peer, bytes], Awaitable[bytes]]


@dataclass
class Counters:
    """Since the start: bytes served, and answers of other nodes that were not the bytes of the blob."""

    bytes_out: int = 0
    wrong: int = 0


@dataclass
class _Turn:
    """Callers that want the same blob: one transfers it, the others wait and share the outcome."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    failed: tuple[frozenset[str], EdgeError] | None = None


class BlobExchange:
    """Serves this node's blobs by `verbs` and fetches those of others.

    `may_read(node_id, cid)` says whether a node is served; a refusal looks exactly like a blob that is not here.
    """

    def __init__(self, store: BlobStore, call: Caller, may_read: Callable[[str, str], bool]) -> None:
        self._store = store
        self._call = call
        self._may_read = may_read
        self._turns: dict[str, _Turn] = {}
        self._parked: dict[str, tuple[float, Incoming]] = {}
        self._moving: dict[str, Transfer] = {}
        self._serving = asyncio.Semaphore(SERVED_AT_ONCE)
        self.counters = Counters()
        self.verbs: dict[str, Handler] = {HAVE: self._have, TREE: self._tree, GET: self._get}

    def close(self) -> None:
        """Drop interrupted transfers."""
        for _, incoming in self._parked.values():
            incoming.close()
        self._parked.clear()

    # -- serving ------------------------------------------------------------------------------------

    def _open_to(self, peer: Peer, cid: str) -> bool:
        try:
            return self._store.has(cid) and self._may_read(peer.id, cid)
        except BlobError:
            return False

    async def _have(self, peer: Peer, body: bytes) -> bytes:
        cid = decode(body, Ask).cid
        return encode(Have(self._store.size(cid))) if self._open_to(peer, cid) else b""

    async def _tree(self, peer: Peer, body: bytes) -> bytes:
        cid = decode(body, Ask).cid
        if not self._open_to(peer, cid):
            return b""
        async with self._serving:
            leaves, size = await self._store.leaves(cid)
        return encode(Tree(size, leaves))

    async def _get(self, peer: Peer, body: bytes) -> bytes:
        ask = decode(body, Get)
        if ask.offset < 0 or not 0 < ask.length <= MAX_RANGE:
            raise Refused(f"blob.get of {ask.length} bytes; at most {MAX_RANGE} at once", code="refused.malformed")
        if not self._open_to(peer, ask.cid):
            return b""
        async with self._serving:
            data = await self._store.read_at(ask.cid, ask.offset, ask.length)
        self.counters.bytes_out += len(data)
        return data

    # -- fetching -----------------------------------------------------------------------------------

    async def have(self, cid: str, nodes: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """Which of these nodes hold the blob (and let us read it), with the size that they claim."""
        parse_cid(cid)
        body = encode(Ask(cid))

        async def ask(node: str) -> tuple[str, int]:
            try:
                reply = await self._call(node, HAVE, body, timeout=timeout)
                return node, decode(reply, Have).size if reply else -1
            except EdgeError as error:
                logger.debug("blob.have at %s: %s", node, error)
                return node, -1

        answers = await asyncio.gather(*(ask(node) for node in nodes))
        return {node: size for node, size in answers if size >= 0}

    async def fetch(
        self, cid: str, holders: Sequence[str], *, timeout: float, size: int | None = None, owner: str | None = None
    ) -> Path:
        """The verified file of a blob, from here or from the first of `holders` that gives it, within `timeout` seconds.

        With `owner` it is pinned before it can be evicted. With `size`, in bytes, a blob of any other size is BlobError
        (`blob.size`) before more than its tree or its only leaf has come. Raises Unreachable where no holder answered in time,
        and BlobError (`blob.unavailable`) where the holders that answered do not have it or sent wrong bytes. Verified parts
        are kept for a while, so that another call goes on from there.
        """
        parse_cid(cid)
        try:
            async with asyncio.timeout(timeout), self._turn(cid, holders):
                if not self._store.has(cid):
                    await self._from_holders(cid, holders, size, owner)
                self._store.check_size(cid, size)
                if owner is not None:
                    self._store.pin(cid, owner)
                return self._store.path(cid)
        except TimeoutError:
            raise Unreachable(
                f"blob {cid} did not arrive from {_names(holders)} within {timeout:g} s",
                hint="the part that has arrived is kept; try again, or look at the links with edge-agent status",
            ) from None

    def arrived(self, cid: str) -> int:
        """The verified bytes of a blob that is being fetched; 0 where it is not, or has only just begun."""
        moving = self._moving.get(cid)
        return moving.incoming.verified if moving is not None and moving.incoming is not None else 0

    @asynccontextmanager
    async def _turn(self, cid: str, holders: Sequence[str]) -> AsyncIterator[None]:
        turn = self._turns.setdefault(cid, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                if turn.failed and turn.failed[0] >= frozenset(holders):
                    raise turn.failed[1]
                try:
                    yield
                except EdgeError as error:
                    if error.code != "blob.size":  # another event may declare the right one
                        turn.failed = (frozenset(holders), error)
                    raise
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[cid]

    async def _from_holders(self, cid: str, holders: Sequence[str], size: int | None, owner: str | None) -> None:
        transfer = Transfer(cid, size, self._store, self._call, self._unpark(cid))
        reasons: dict[str, EdgeError] = {}
        self._moving[cid] = transfer
        try:
            for holder in dict.fromkeys(holders):
                try:
                    if parse_cid(cid).codec == RAW:
                        await self._one_chunk(cid, size, holder, owner)
                    else:
                        await transfer.from_holder(holder, owner)
                    return
                except EdgeError as error:
                    if error.code in ("blob.quota", "blob.disk", "blob.too-large", "blob.size"):
                        raise
                    self._note(cid, holder, error)
                    reasons[holder] = error
        finally:
            del self._moving[cid]
            self._park(cid, transfer.incoming)
        raise _unavailable(cid, reasons)

    async def _one_chunk(self, cid: str, size: int | None, holder: str, owner: str | None) -> None:
        data = await self._call(holder, GET, encode(Get(cid, 0, CHUNK)), timeout=CALL_TIMEOUT)
        if not data and cid != EMPTY:
            raise not_there(cid)
        if size is not None and size != len(data) and hash_bytes(data[: CHUNK + 1]).cid == cid:
            raise wrong_size(cid, len(data), size)
        await self._store.put(data, owner=owner, expect=cid)

    def _note(self, cid: str, holder: str, error: EdgeError) -> None:
        if isinstance(error, WrongBytes):
            self.counters.wrong += 1
            logger.warning("%s sent wrong bytes for blob %s and is not asked again: %s", holder, cid, error)
        else:
            logger.info("blob %s did not come from %s: %s", cid, holder, error)

    # -- interrupted transfers -----------------------------------------------------------------------

    def _unpark(self, cid: str) -> Incoming | None:
        now = time.monotonic()
        for old in [c for c, (since, _) in self._parked.items() if since + PARKED_FOR < now]:
            self._parked.pop(old)[1].close()
        parked = self._parked.pop(cid, None)
        return parked[1] if parked else None

    def _park(self, cid: str, incoming: Incoming | None) -> None:
        if incoming is None or incoming.closed:
            return
        if not incoming.started:
            incoming.close()
            return
        while len(self._parked) >= PARKED:
            self._parked.pop(next(iter(self._parked)))[1].close()
        self._parked[cid] = (time.monotonic(), incoming)


def _names(holders: Sequence[str]) -> str:
    return ", ".join(holders) or "no node"


def _unavailable(cid: str, reasons: dict[str, EdgeError]) -> EdgeError:
    told = "; ".join(f"{holder}: {error.message}" for holder, error in reasons.items()) or "no holder is known"
    if reasons and all(isinstance(e, Unreachable) for e in reasons.values()):
        return Unreachable(f"no holder of blob {cid} answers: {told}", hint="see edge-agent nodes")
    return BlobError(
        f"no holder sent blob {cid}: {told}",
        code="blob.unavailable",
        hint="it may have been deleted, or this node may not read it",
    )
