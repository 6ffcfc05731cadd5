"""Moving rows to the node that was chosen: batches, a few in flight for each node, each signed once by the mesh."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

import msgspec

from agent.clock import boottime
from agent.delivery.changes import Changes
from agent.delivery.context import Context
from agent.delivery.row_queue import RowQueue
from agent.delivery.rows import Row, State
from agent.delivery.validation import decoded
from agent.delivery.wire import INLINE, MAX_ITEMS, MAX_REQUEST, DeliverRequest, Delivery, Verdict
from agent.errors import BlobError, EdgeError, Unreachable

log = logging.getLogger(__name__)

IN_FLIGHT = 4
TIMEOUT = 20.0
AGAIN = {"full": 0.5, "rate": 0.5, "version": 0.3, "unknown": 0.3, "blob": 0.5}
"""Seconds until a row that was refused for now is routed again."""
REFUSED = 1.0
"""The same after every other refusal, after which other nodes are tried first."""
NOT_REACHED = 0.3
BUSY = frozenset({"busy"})
"""Codes of refusals of a whole request that say nothing against the node."""


class Item(NamedTuple):
    """A row that is sent: the encoded event, and which of the row's choices of a node this is."""

    event: bytes
    choice: int


Batch = dict[Row, Item]


class Senders:
    """One queue for each node that rows go to."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._queues: dict[str, RowQueue] = {}
        self._busy: dict[str, int] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._refused: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Own the transfers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                for node in list(self._queues):
                    self._pump(node)
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def send(self, row: Row) -> None:
        """Send the row to `row.target` soon."""
        self._queues.setdefault(row.target, RowQueue()).put(row)
        self._pump(row.target)

    def _pump(self, node: str) -> None:
        if self._tasks is None:
            return
        while self._queues.get(node) and self._busy.get(node, 0) < IN_FLIGHT:
            batch = self._take(node)
            if batch:
                self._busy[node] = self._busy.get(node, 0) + 1
                self._tasks.create_task(self._transfer(node, batch))

    def _take(self, node: str) -> Batch:
        queue, size = self._queues[node], 0
        batch: Batch = {}
        while queue and len(batch) < MAX_ITEMS and size < MAX_REQUEST // 4:
            row, choice = queue.take()
            if row.state is State.SENDING and row.choice == choice:
                batch[row] = Item(row.event.encode(), choice)
                size += 512 + len(batch[row].event) + sum(b.size for b in row.event.blobs() if b.size <= INLINE)
        return batch

    async def _transfer(self, node: str, batch: Batch) -> None:
        try:
            await self._deliver(node, batch)
        finally:
            self._busy[node] -= 1
            self._pump(node)

    async def _deliver(self, node: str, batch: Batch) -> None:
        try:
            body = await self._request(batch)
            raw = await self.context.mesh.call(node, "pipeline.deliver", body, timeout=TIMEOUT)
            verdicts: list[Verdict] = decoded(raw, list[Verdict])
        except EdgeError as e:
            self._put_back(node, batch, e)
            return
        accepted: list[Row] = []
        refused = Changes()
        short = [Verdict("bad", "the answer is too short")] * (len(batch) - len(verdicts))
        for (row, item), verdict in zip(batch.items(), verdicts + short, strict=False):
            if row.state is not State.SENDING or row.choice != item.choice:
                continue
            if verdict.status == "accepted":
                accepted.append(row)
            else:
                self._refuse(node, row, verdict, refused)
        self.context.apply(refused)
        if accepted:
            self.context.apply(self.context.lifecycle.placed(accepted))

    async def _request(self, batch: Batch) -> bytes:
        blobs: dict[str, bytes] = {}
        left = MAX_REQUEST // 2
        for blob in (b for row in batch for b in row.event.blobs()):
            if blob.size > min(left, INLINE) or blob.cid in blobs:
                continue
            try:
                data = await self.context.blobs.read(blob.cid)
            except BlobError as e:
                log.debug("%s is not here to go along: %s", blob.cid, e)
                continue
            if len(data) <= min(left, INLINE):
                blobs[blob.cid] = data
                left -= len(data)
        now = boottime()
        items = [
            Delivery(
                r.pipeline, r.version, r.step, r.slot, item.event, (now - r.root_at) * 1e3, (r.deadline - now) * 1e3, list(r.trace),
                r.attempts,
            )
            for r, item in batch.items()
        ]  # fmt: skip
        return msgspec.msgpack.encode(DeliverRequest(items, blobs))

    def _put_back(self, node: str, batch: Batch, why: EdgeError) -> None:
        log.debug("%d deliveries to %s go back to be routed again: %s", len(batch), node, why)
        avoid = not isinstance(why, Unreachable) and why.code not in BUSY
        if avoid:
            self._once(node, "error", str(why))
        changes = Changes()
        for row, item in batch.items():
            if row.choice == item.choice:
                self.context.lifecycle.put_back(row, NOT_REACHED, avoid=avoid, changes=changes, answered=False)
        self.context.apply(changes)

    def _refuse(self, node: str, row: Row, verdict: Verdict, changes: Changes) -> None:
        avoid, reason = verdict.status not in AGAIN, ""
        if avoid:
            reason = f"{self._name(node)} refuses it: {verdict.detail}"
            self._once(node, f"{row.pipeline}/{row.step}: {verdict.status}", verdict.detail)
        after = AGAIN.get(verdict.status, REFUSED)
        self.context.lifecycle.put_back(row, after, avoid=avoid, changes=changes, reason=reason)

    def _once(self, node: str, what: str, detail: str) -> None:
        if (node, what) not in self._refused:
            self._refused.add((node, what))
            log.warning("%s refuses deliveries (%s): %s", self._name(node), what, detail)

    def _name(self, node: str) -> str:
        return next((n.name for n in self.context.mesh.live() if n.id == node), node)
