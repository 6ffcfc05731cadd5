"""Images that this node lacks, on their way from nodes that have them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from agent import ticks
from agent.blobs import BlobExchange, BlobStore
from agent.definitions import Definitions
from agent.errors import EdgeError, NotFound, Refused, Unreachable
from agent.executors import Images
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.node import NodeRecord
from agent.model.task import IMAGE_ID, DockerTask
from agent.node.image_offers import OFFER, Offer

log = logging.getLogger(__name__)

ASKED = 64
"""Most nodes that are asked whether they have an image."""
PATIENCE = 10.0
"""Seconds that a node has to answer."""
POLL = 0.5
"""Seconds between questions while a node saves the image."""
SAVED_WITHIN = 1800.0
SLOWEST = 200_000
"""Bytes a second below which a transfer is given up; what arrived is kept for ten minutes, and the next try goes on from there."""
ON_ITS_WAY = "image.awaited"

Phase = Literal["asked", "saved", "sent", "loaded"]


@dataclass(eq=False)
class Coming:
    """One image on its way: the name of the node that it comes from, and how many of its bytes are here or saved there."""

    task: DockerTask
    phase: Phase = "asked"
    node: str = ""
    cid: str = ""
    done: int = 0
    size: int = 0
    fetch: asyncio.Task[None] | None = field(default=None, repr=False)

    def text(self, arrived: int) -> str:
        """Its state in words; `arrived` bytes of it are here."""
        name = self.task.name or self.task.image[:19]
        done = arrived if self.phase == "sent" else self.done
        amount = f"{min(done, self.size) / 1e6:.0f} of {self.size / 1e6:.0f} MB"
        match self.phase:
            case "asked":
                return f"image {name} is not here; the other nodes are asked for it"
            case "saved":
                return f"image {name} is on its way: {self.node} saves it, {amount}"
            case "sent":
                return f"image {name} is on its way from {self.node}, {amount}"
        return f"image {name} has arrived, {self.size / 1e6:.0f} MB; the engine loads it"


class ImageFetches:
    """Fetches the images of steps, one at a time, and loads them.

    `largest` is the owner's limit in bytes, 0 for no image at all.
    """

    def __init__(
        self,
        images: Images,
        blobs: BlobStore,
        exchange: BlobExchange,
        mesh: Mesh,
        definitions: Definitions,
        largest: int,
    ) -> None:
        self._images, self._blobs, self._exchange = images, blobs, exchange
        self._mesh, self._definitions, self._largest = mesh, definitions, largest
        self._coming: dict[str, Coming] = {}
        self._one = asyncio.Lock()

    async def ready(self, task: DockerTask) -> None:
        """Return where the task's image is on this node, or the task names none by its id.

        Otherwise raise Unreachable (`image.awaited`) while it is fetched, and once the error of a fetch that failed: another call
        begins the next. Raises Unreachable (`docker.away`) without an engine.
        """
        if not IMAGE_ID.match(task.image):
            return
        coming = self._coming.get(task.image)
        if coming is None:
            try:
                await self._images.facts(task.image)
                return
            except NotFound:
                if not task.vouched:
                    raise _not_vouched(task) from None
                coming = self._coming.setdefault(task.image, Coming(task))
            if coming.fetch is None:
                coming.fetch = asyncio.create_task(self._fetch(coming), name=f"fetch {task.shown}")
        assert coming.fetch is not None
        await asyncio.wait({coming.fetch}, timeout=POLL)
        if not coming.fetch.done():
            hint = "nothing to do: its step starts when it is here; the other nodes that may run it go on"
            raise Unreachable(self._text(coming), hint=hint, code="image.awaited")
        self._coming.pop(task.image, None)
        coming.fetch.result()

    def texts(self) -> dict[str, str]:
        """The state in words of each image that is on its way, by its id."""
        return {image: self._text(c) for image, c in self._coming.items() if c.fetch and not c.fetch.done()}

    def _text(self, coming: Coming) -> str:
        return coming.text(self._exchange.arrived(coming.cid))

    async def close(self) -> None:
        """Give up what is on its way."""
        tasks = [c.fetch for c in self._coming.values() if c.fetch is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one fetch ----------------------------------------------------------------------------------------------------

    async def _fetch(self, coming: Coming) -> None:
        task = coming.task
        async with self._one:
            holders = await self._holders(task.image)
            if not self._largest or not holders:
                raise _nowhere(task, holders)
            errors: dict[str, EdgeError] = {}
            for holder in holders:
                try:
                    await self._from(coming, holder)
                    return
                except EdgeError as e:
                    log.warning("image %s did not come from %s: %s", task.shown, holder.name, e)
                    errors[holder.name] = e
        if len(errors) == 1:
            raise next(iter(errors.values()))
        told = "; ".join(f"{name}: {e.message}" for name, e in errors.items())
        last = list(errors.values())[-1]
        raise Unreachable(f"the image {task.shown} did not come: {told}", hint=last.hint, code=last.code)

    async def _holders(self, image: str) -> list[NodeRecord]:
        """The live nodes that have the image."""

        async def has(node: NodeRecord) -> bool:
            try:
                answer = await self._mesh.call(node.id, "docker.image", msgspec.msgpack.encode(image), timeout=PATIENCE)
                return msgspec.msgpack.decode(answer, type=str) == image
            except (EdgeError, *DAMAGED):
                return False

        nodes = [n for n in self._mesh.live() if n.id != self._mesh.me.id][:ASKED]
        found = await asyncio.gather(*map(has, nodes))
        return [node for node, holds in zip(nodes, found, strict=True) if holds]

    async def _from(self, coming: Coming, holder: NodeRecord) -> None:
        image, coming.node, coming.phase = coming.task.image, holder.name, "saved"
        offer = await self._saved(coming, holder)
        coming.cid, coming.size, coming.phase = offer.cid, offer.size, "sent"
        owner, begun = f"image:{image}", time.monotonic()
        try:
            self._blobs.pin(offer.cid, owner)
            patience = max(600.0, offer.size / SLOWEST)
            path = await self._exchange.fetch(offer.cid, [holder.id], timeout=patience, size=offer.size, owner=owner)
            coming.phase = "loaded"
            if not self._named(image):
                raise NotFound(f"no pipeline names the image {coming.task.shown} any more")
            await self._images.load(path, image, coming.task.name or image)
        finally:
            self._blobs.unpin(owner)
            self._blobs.release([offer.cid])
        took = time.monotonic() - begun
        log.info("image %s came from %s: %d bytes in %.1f s", coming.task.shown, holder.name, offer.size, took)

    async def _saved(self, coming: Coming, holder: NodeRecord) -> Offer:
        """The offer of a holder that has saved the image; raises EdgeError."""
        end = time.monotonic() + SAVED_WITHIN
        while time.monotonic() < end:
            body = msgspec.msgpack.encode(coming.task.image)
            answer = await self._mesh.call(holder.id, OFFER, body, timeout=PATIENCE)
            try:
                offer = msgspec.msgpack.decode(answer, type=Offer)
            except DAMAGED as e:
                raise Refused(f"{holder.name} answers nonsense: {e}", code="refused.malformed") from None
            self._check(coming.task, offer)
            coming.size, coming.done = offer.size, offer.done
            if offer.cid:
                return offer
            await ticks.sleep(POLL)
        raise Unreachable(f"{holder.name} did not save the image {coming.task.shown} in time", hint="see its log")

    def _check(self, task: DockerTask, offer: Offer) -> None:
        """Raise Refused for an image that this node cannot take."""
        arch, quota = self._mesh.me.labels.get("arch", ""), self._blobs.quota
        if offer.arch and arch and offer.arch != arch:
            hint = "build it on a node of this kind, and give each kind of node its step (`where: arch=…`)"
            text = f"the image {task.shown} is for {offer.arch[:40]}, this node is {arch}"
            raise Refused(text, hint=hint, code="image.arch")
        for limit, key in ((self._largest, "docker.largest_image"), (quota, "blobs.quota")):
            if not 0 <= offer.size <= limit:
                text = (
                    f"the image {task.shown} has {offer.size / 1e6:.0f} MB, this node takes {limit / 1e6:.0f} ({key})"
                )
                raise Refused(
                    text, hint=f"raise {key} on this node, or load the image by hand (docker load)", code="image.size"
                )

    def _named(self, image: str) -> bool:
        """Whether an applied pipeline names the image."""
        kinds = self._definitions.kinds
        return any(image in kinds.of(s).images(s) for p in self._definitions.current.values() for s in p.steps)


def _not_vouched(task: DockerTask) -> NotFound:
    text = f"the image {task.shown} is not on this node, and no operator had it when the pipeline was applied"
    hint = "load it here by hand (docker load), or on an operator and apply the pipeline again: this node then takes it"
    return NotFound(text, hint=hint)


def _nowhere(task: DockerTask, holders: Sequence[NodeRecord]) -> NotFound:
    text = f"the image {task.shown} is not on this node"
    if holders:
        names = ", ".join(n.name for n in holders)
        hint = f"{names} has it, and this node takes no images (docker.largest_image): load it by hand (docker load)"
        return NotFound(text, hint=hint)
    hint = "load, pull or build it on any node (the detector: edge-agent detector build), then apply the pipeline again"
    return NotFound(f"{text}, nor on another node that is here", hint=hint)
