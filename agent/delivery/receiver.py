"""Accepts deliveries of other nodes: checks rights, room and blobs, then commits, then answers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from agent.clock import boottime
from agent.delivery.changes import Changes
from agent.delivery.context import Context
from agent.delivery.policy import Check, allowed
from agent.delivery.retry import After, runs_again
from agent.delivery.rows import MAX_TRACE, Key, Row, State
from agent.delivery.validation import decoded, event_of
from agent.delivery.wire import INLINE, MAX_ITEMS, DeliverRequest, Delivery, Report, Verdict
from agent.errors import EdgeError, Refused
from agent.model.cid import raw_cid
from agent.model.event import Event
from agent.model.placement import may_send, selector
from agent.rates import Rates

log = logging.getLogger(__name__)

ACCEPTED = Verdict("accepted")
EVENTS_PER_SECOND = 10_000.0
BYTES_PER_SECOND = 128e6
"""Limits of one sender, with bursts of two seconds; a building's busiest minute is far below."""
FETCH_TIMEOUT = 15.0
Outcome = tuple[Row | None, Verdict]


class Receiver:
    """The handlers of `pipeline.deliver` and `pipeline.report`."""

    def __init__(self, context: Context, check: Check = allowed) -> None:
        """`check` holds the policy of this node's owner."""
        self.context = context
        self.refused: dict[str, int] = {}
        self.check = check
        self._pending: set[Key] = set()
        self._events = Rates(EVENTS_PER_SECOND, 2 * EVENTS_PER_SECOND)
        self._bytes = Rates(BYTES_PER_SECOND, 2 * BYTES_PER_SECOND)
        self._logged: set[tuple[str, str]] = set()
        context.mesh.serve("pipeline.deliver", self.deliver)
        context.mesh.serve("pipeline.report", self.report)

    # -- deliver ------------------------------------------------------------------------------------------------------

    async def deliver(self, peer: Any, body: bytes) -> bytes:
        """Accept or refuse each delivery; the accepted rows are on the disk when this answers."""
        request: DeliverRequest = decoded(body, DeliverRequest)
        if len(request.items) > MAX_ITEMS:
            raise Refused(f"more than {MAX_ITEMS} deliveries in one request", code="bad")
        if not self._rate(peer.id, len(request.items), len(body)):
            return msgspec.msgpack.encode([self._no(peer, "rate", "too much at once")] * len(request.items))
        pending: set[Key] = set()
        owner = f"delivery:{id(pending)}"
        try:
            outcomes = await asyncio.gather(*(self._one(peer, i, request.blobs, pending, owner) for i in request.items))
            changes = self._taken(peer, request.items, outcomes)
            applied = self.context.apply_written(changes) if changes.on_disk else None
        finally:
            self._pending -= pending
            self.context.blobs.unpin(owner)  # the rows that were accepted need their blobs from now on
        if applied is not None:
            await applied
        return msgspec.msgpack.encode([verdict for _, verdict in outcomes])

    def _taken(self, peer: Any, items: list[Delivery], outcomes: list[Outcome]) -> Changes:
        """Take new rows, and take up existing rows: the same event may have arrived by another way while its blobs came."""
        changes, new = Changes(), dict[Key, Row]()
        again: list[tuple[Row, Delivery]] = []
        for item, (row, _) in zip(items, outcomes, strict=True):
            if row is None:
                continue
            known = self.context.journal.find(*row.key)
            if known is None:
                new[row.key] = row
                continue
            again.append((known, item))
        self.context.lifecycle.accepted(list(new.values()), changes)
        for row, item in again:
            self.context.lifecycle.delivered_again(row, peer.id, item.attempts, changes)
        return changes

    async def _one(self, peer: Any, item: Delivery, inline: dict[str, bytes], pending: set[Key], owner: str) -> Outcome:
        """The row that takes the delivery, with its blobs here and pinned for `owner`; the caller journals it."""
        event = self._check(peer, item)
        if isinstance(event, Verdict):
            return None, event
        key = (event.id, item.pipeline, item.step, item.slot)
        known = self.context.journal.find(*key)
        if known is not None and not runs_again(known, item.attempts):
            return known, ACCEPTED
        if key in self._pending or (known is None and not self._room(item)):
            return None, self._no(peer, "full", "the queue is full, or the same event is just being accepted")
        self._pending.add(key)
        pending.add(key)
        row = known if known is not None else self._new(peer, item, event)
        try:
            await self._blobs(peer, event, inline, owner)
        except EdgeError as e:
            return None, self._no(peer, "blob", e.message)
        return row, ACCEPTED

    def _new(self, peer: Any, item: Delivery, event: Event) -> Row:
        now = boottime()
        step = self.context.definitions.step(item.pipeline, item.version, item.step)
        longest = step[1].deadline if step is not None else 0.0
        return self.context.rows.row(
            event, item.pipeline, item.version, item.step, slot=item.slot, target=self.context.node_id, state=State.QUEUED,
            attempts=item.attempts, deadline=now + min(item.remaining_ms / 1e3, longest),
            root_at=now - max(0.0, item.age_ms) / 1e3, trace=tuple(item.trace[:MAX_TRACE]), decided=True, claims={peer.id: 0},
        )  # fmt: skip

    def _room(self, item: Delivery) -> bool:
        """Each step has its own part of the queue: a common queue could fill with rows that wait for each other's nodes.

        With a part for each, rows of the last step always find room once it has run some, then those of the step before.
        """
        steps = sum(len(p.steps) for p in self.context.definitions.current.values()) or 1
        pending = sum((p, s) == (item.pipeline, item.step) for _, p, s, _ in self._pending)
        journal = self.context.journal
        return journal.delivered_open[item.pipeline, item.step] + pending < max(1, journal.max_open // steps)

    def _check(self, peer: Any, item: Delivery) -> Event | Verdict:
        found = self.context.definitions.step(item.pipeline, item.version, item.step)
        if found is None:
            return self._no(peer, "version", f"{item.pipeline} {item.version} is not known here yet")
        pipeline, step = found
        try:
            event = event_of(item)
        except ValueError as e:
            return self._no(peer, "bad", f"not an event: {e}")
        labels = self._labels(peer.id)
        if labels is None:
            return self._no(peer, "unknown", f"{peer.name} has not been heard of yet, nor its labels")
        if not event.source.startswith(f"/{peer.id}/") or not may_send(pipeline, step, event.step, labels):
            return self._no(peer, "not-allowed", f"{peer.name} may not send {event.step}'s events to {step.name}")
        if step.pick == "here":
            return self._no(peer, "not-allowed", f"{step.name} runs where its events are made")
        if item.slot != (self.context.node_id if step.pick == "all" else ""):
            return self._no(peer, "bad", "this delivery is for another node")
        if step.where and not selector(step.where).matches(self._labels(self.context.node_id) or {}):
            return self._no(peer, "not-allowed", f"this node does not match {step.where}")
        try:
            self.check(self.context.definitions.kinds.task_of(step))
        except Refused as e:
            return self._no(peer, "policy", e.message)
        return event

    def _labels(self, node_id: str) -> dict[str, str] | None:
        """A live node's labels; None for a node that this node, just started, has not heard of yet."""
        return next((n.labels for n in self.context.mesh.live() if n.id == node_id), None)

    def _no(self, peer: Any, status: str, detail: str) -> Verdict:
        self.refused[status] = self.refused.get(status, 0) + 1
        if (peer.id, status) not in self._logged and status not in ("version", "full", "rate", "unknown"):
            self._logged.add((peer.id, status))
            log.warning("delivery from %s refused (%s): %s", peer.name, status, detail)
        return Verdict(status, detail)

    def _rate(self, sender: str, events: int, size: int) -> bool:
        if self._events.wait(sender, events) or self._bytes.wait(sender, size):
            return False
        self._events.take(sender, events)
        self._bytes.take(sender, size)
        return True

    # -- blobs --------------------------------------------------------------------------------------------------------

    async def _blobs(self, peer: Any, event: Event, inline: dict[str, bytes], owner: str) -> None:
        """Have the event's blobs here, each as large as it declares.

        They are pinned first: the end of another row that names one must not delete it meanwhile.
        """
        for blob in event.blobs():
            self.context.blobs.pin(blob.cid, owner)
            if self.context.blobs.has(blob.cid):
                self.context.blobs.check_size(blob.cid, blob.size)
                continue
            data = inline.get(blob.cid, b"")
            if data and len(data) == blob.size <= INLINE and str(raw_cid(data)) == blob.cid:
                await self.context.blobs.put(data)
            else:
                await self.context.fetch(blob.cid, [peer.id], FETCH_TIMEOUT, blob.size)

    # -- report -------------------------------------------------------------------------------------------------------

    async def report(self, peer: Any, body: bytes) -> bytes:
        """A node reports the ends of our deliveries; answered once they are on the disk."""
        reports: list[Report] = decoded(body, list[Report])
        for report in reports:
            row = self.context.journal.find(report.event, report.pipeline, report.step, report.slot)
            if row is not None and row.target == peer.id and not row.closed:
                self._reported(row, report)
        await self.context.journal.commit()
        return b""

    def _reported(self, row: Row, report: Report) -> None:
        found = self.context.step_of(row)
        changes = self.context.lifecycle.reported(
            row, report.end, report.reason, closed=report.phase == 2, matched=report.matched,
            after=After(report.final, report.free, report.attempts), step=found[1] if found is not None else None,
        )  # fmt: skip
        self.context.apply(changes)
