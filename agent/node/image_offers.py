"""Images of this node for nodes that lack them: saved into the blob store when a node asks, and kept there for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from agent import ticks
from agent.blobs import BlobStore, GivesWay
from agent.definitions import Definitions
from agent.errors import EdgeError, NotFound, Refused
from agent.executors import ImageFacts, Images
from agent.identity import PeerIdentity
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.placement import may_run
from agent.model.task import IMAGE_ID

log = logging.getLogger(__name__)

OFFER = "image.offer"
KEPT = 600.0
"""Seconds after the last question for which a saved image stays: the next node then need not wait for another."""
LOOK = 10.0
MOST = 8
"""Most images that are offered at once."""


class Offer(msgspec.Struct):
    """The answer of OFFER: the saved image's CID and size, or while it is saved no CID, the expected size and the bytes so far."""

    size: int
    arch: str
    """The architecture that the image is for; empty where the engine does not say."""
    cid: str = ""
    done: int = 0


@dataclass(eq=False)
class _Saved:
    """One image that is being saved or was saved."""

    facts: ImageFacts
    asked: float
    task: asyncio.Task[tuple[str, int]]
    done: int = 0
    readers: set[str] = field(default_factory=set)

    @property
    def ended(self) -> tuple[str, int] | None:
        """The CID and the size; None while it is saved. Raises the error of its end."""
        return self.task.result() if self.task.done() else None


class ImageOffers:
    """Answers OFFER, and is the need of the registry that keeps what it saved.

    Only an image that an applied pipeline names is given, to operators and to nodes whose signed labels let them run that step.
    """

    gives_way: GivesWay = "first"

    def __init__(self, images: Images, blobs: BlobStore, mesh: Mesh, definitions: Definitions) -> None:
        self._images, self._blobs, self._mesh, self._definitions = images, blobs, mesh, definitions
        self._saved: dict[str, _Saved] = {}
        self._readers: dict[str, set[str]] = {}
        self._one = asyncio.Lock()

    def needs(self, cid: str) -> bool:
        """Whether it is a saved image that is still offered."""
        return cid in self._readers

    def may_read(self, node_id: str, cid: str) -> bool:
        """Whether the node asked for it and may have it."""
        return node_id in self._readers.get(cid, ())

    async def serve(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer OFFER; raises Refused, NotFound, and what saving the image raised."""
        try:
            image = msgspec.msgpack.decode(body, type=str)
        except DAMAGED as e:
            raise Refused(f"not the id of an image: {e}", code="refused.malformed") from None
        if not IMAGE_ID.match(image):
            raise Refused(f"{image[:80]!r} is not the id of an image", code="refused.malformed")
        if not self._may_have(peer, image):
            raise NotFound(f"no pipeline lets {peer.name} run the image {image[:19]}")
        if image not in self._saved:
            facts = await self._images.facts(image)
            if image not in self._saved:
                self._begin(facts)
        saved = self._saved[image]
        saved.asked = time.monotonic()
        saved.readers.add(peer.id)
        try:
            ended = saved.ended
        except EdgeError:
            del self._saved[image]
            raise
        if ended is None:
            return msgspec.msgpack.encode(Offer(saved.facts.size, saved.facts.arch, done=saved.done))
        cid, size = ended
        if not self._blobs.has(cid):  # it gave way to others
            self._forget(image)
            self._begin(saved.facts, peer.id)
            return msgspec.msgpack.encode(Offer(saved.facts.size, saved.facts.arch))
        self._readers[cid] = saved.readers
        return msgspec.msgpack.encode(Offer(size, saved.facts.arch, cid, size))

    def _may_have(self, peer: PeerIdentity, image: str) -> bool:
        steps = [(p, s) for p in self._definitions.current.values() for s in p.steps]
        named = [(p, s) for p, s in steps if image in self._definitions.kinds.of(s).images(s)]
        labels = next((n.labels for n in self._mesh.live() if n.id == peer.id), {})
        return any(peer.is_operator or may_run(p, s, labels) for p, s in named)

    def _begin(self, facts: ImageFacts, *readers: str) -> None:
        if len(self._saved) >= MOST:
            raise Refused(
                f"{self._mesh.me.name} offers {MOST} images already", hint="try again later", code="image.busy"
            )
        task = asyncio.create_task(self._save(facts), name=f"save {facts.id[:19]}")
        task.add_done_callback(_seen)
        self._saved[facts.id] = _Saved(facts, time.monotonic(), task, readers=set(readers))

    async def _save(self, facts: ImageFacts) -> tuple[str, int]:
        def counted() -> Iterator[bytes]:
            for piece in self._images.save(facts.id):
                saved.done += len(piece)
                yield piece

        owner = f"image:{facts.id}"
        async with self._one:
            saved = self._saved[facts.id]
            begun = time.monotonic()
            try:
                cid, size = await self._blobs.put_stream(counted(), room=facts.size, owner=owner)
                self._readers[cid] = saved.readers
            finally:
                self._blobs.unpin(owner)
        log.info("image %s is saved as %s: %d bytes in %.1f s", facts.id[:19], cid, size, time.monotonic() - begun)
        return cid, size

    async def run(self) -> None:
        """Delete saved images that nobody asked for lately, until cancelled."""
        while True:
            await ticks.sleep(LOOK)
            self.forget(time.monotonic() - KEPT)

    def forget(self, before: float) -> None:
        """Delete the saved images that were asked for last before this time of the monotonic clock."""
        for image, saved in list(self._saved.items()):
            if saved.task.done() and saved.asked < before:
                self._forget(image)

    def _forget(self, image: str) -> None:
        saved = self._saved.pop(image)
        if not saved.task.cancelled() and saved.task.exception() is None:
            cid, _ = saved.task.result()
            self._readers.pop(cid, None)
            self._blobs.release([cid])

    async def close(self) -> None:
        """End what is being saved."""
        tasks = [saved.task for saved in self._saved.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _seen(task: asyncio.Task[tuple[str, int]]) -> None:
    """The node that asks next gets the error; without one it is only logged."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("%s failed: %s", task.get_name(), error)
