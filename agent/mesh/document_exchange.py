"""Exchanges documents: a new document goes to all live nodes, and two nodes that meet compare theirs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from agent.errors import EdgeError
from agent.mesh import wire
from agent.mesh.documents import Document, Documents
from agent.mesh.wire import Envelopes
from agent.model.node import NodeRecord

logger = logging.getLogger(__name__)

DIGEST = "doc.digest"
PUT = "doc.put"
MAX_ROUNDS = 200
"""Most comparisons in one exchange; each but the last moves up to two chunks."""
_SECONDS = 20.0

Call = Callable[..., Awaitable[bytes]]


class DocumentExchange:
    """Keeps this node's documents equal to those of the other nodes."""

    def __init__(self, documents: Documents, call: Call, live: Callable[[], list[NodeRecord]], every: float) -> None:
        self._documents, self._call, self._live, self._every = documents, call, live, every
        self._tasks: asyncio.TaskGroup | None = None
        self._busy: set[str] = set()
        documents.on_put = self._spread_later

    def met(self, node: str) -> None:
        """Compare documents with a node that came; of two nodes the one with the smaller id starts."""
        if self._tasks is not None and self._documents.identity.node_id < node:
            self._tasks.create_task(self._exchange(node))

    async def run(self) -> None:
        """Compare with a random live node now and then, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                while True:
                    await asyncio.sleep(self._every * random.uniform(0.7, 1.3))  # noqa: S311  guards nothing
                    if others := self._live()[1:]:
                        await self._exchange(random.choice(others).id)  # noqa: S311  guards nothing
            finally:
                self._tasks = None

    async def spread(self, document: Document, *, timeout: float = 5.0) -> list[NodeRecord]:
        """Send a document to all live nodes; returns those that did not confirm it in `timeout` seconds."""
        others = self._live()[1:]
        body = wire.encode(Envelopes([document.envelope]))
        confirmed = await asyncio.gather(*(self._send(node.id, body, timeout) for node in others))
        return [node for node, ok in zip(others, confirmed, strict=True) if not ok]

    def _spread_later(self, document: Document) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self.spread(document))

    async def _send(self, node: str, body: bytes, timeout: float) -> bool:
        try:
            await self._call(node, PUT, body, timeout=timeout)
        except EdgeError as error:
            logger.debug("document not confirmed by %s: %s", node, error)
            return False
        return True

    async def _exchange(self, node: str) -> None:
        if node in self._busy:
            return
        self._busy.add(node)
        try:
            for _ in range(MAX_ROUNDS):
                answer = await self._call(node, DIGEST, self._documents.digest(), timeout=_SECONDS)
                won, lacking = await self._documents.take(answer)
                if lacking:
                    await self._call(node, PUT, lacking, timeout=_SECONDS)
                elif not won:
                    return
        except EdgeError as error:
            logger.debug("exchange of documents with %s: %s", node, error)
        finally:
            self._busy.discard(node)
