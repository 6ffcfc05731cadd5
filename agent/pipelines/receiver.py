"""Accepting what other nodes deliver: who may send, is there room, are the blobs here; then commit, then answer."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec

from agent.errors import BlobError, EdgeError, Refused
from agent.model.event import MAX_BLOBS, MAX_EVENT, Event, decode_event
from agent.pipelines.clock import boottime
from agent.pipelines.core import Core
from agent.pipelines.placement import may_send, selector
from agent.pipelines.rows import MAX_TRACE, Row, State
from agent.pipelines.wire import MAX_ITEMS, DeliverRequest, Delivery, Report, Verdict

log = logging.getLogger(__name__)

ACCEPTED = Verdict("accepted")
EVENTS_PER_SECOND = 10_000.0
BYTES_PER_SECOND = 128e6
"""What one sender may deliver, with bursts of two seconds; a building's busiest minute is far below."""
FETCH_TIMEOUT = 15.0
MAX_BLOB = 64 * 1024 * 1024


class Receiver:
    """The handlers of `pipeline.deliver` and `pipeline.report`."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.refused: dict[str, int] = {}
        self.policy: dict[str, bool] = {}
        """Kinds of steps that this node's owner allows; what is absent is allowed."""
        self._pending: set[tuple[str, str, str, str]] = set()
        self._buckets: dict[str, list[float]] = {}
        self._logged: set[tuple[str, str]] = set()
        core.mesh.serve("pipeline.deliver", self.deliver)
        core.mesh.serve("pipeline.report", self.report)

    # -- deliver ------------------------------------------------------------------------------------------------------

    async def deliver(self, peer: Any, body: bytes) -> bytes:
        """Accept or refuse each delivery; what is accepted is on the disk when this answers."""
        try:
            request = msgspec.msgpack.decode(body, type=DeliverRequest)
        except msgspec.MsgspecError as e:
            raise Refused(f"not a delivery: {e}", code="bad", hint="the other node runs another version?") from None
        if len(request.items) > MAX_ITEMS:
            raise Refused(f"more than {MAX_ITEMS} deliveries in one request", code="bad")
        if not self._rate(peer.id, len(request.items), len(body)):
            return msgspec.msgpack.encode([self._no(peer, "rate", "too much at once")] * len(request.items))
        inline = await self._store(request.blobs)
        outcomes = await asyncio.gather(*(self._one(peer, item, inline) for item in request.items))
        new = [row for row, fresh, _ in outcomes if row is not None and fresh]
        again = [row for row, fresh, _ in outcomes if row is not None and not fresh]
        if new or again:
            done = self.core.journal.commit(add=new, change=again)
            self._pending.difference_update(row.key for row in new)
            await done
            self.core.take(new)
        for row in again:
            self._taken_again(row)
        return msgspec.msgpack.encode([verdict for _, _, verdict in outcomes])

    def _taken_again(self, row: Row) -> None:
        if row.state is State.ENDED:
            self.core.report(row)
        elif row.state is State.QUEUED:
            self.core.enqueue(row)

    async def _one(self, peer: Any, item: Delivery, inline: set[str]) -> tuple[Row | None, bool, Verdict]:
        checked = self._check(peer, item)
        if isinstance(checked, Verdict):
            return None, False, checked
        event = checked
        if (row := self._known(peer, item, event)) is not None:
            return row, False, ACCEPTED
        key = (event.id, item.pipeline, item.step, item.slot)
        if not self._room(item) or key in self._pending:
            return None, False, self._no(peer, "full", "the queue is full, or the same event is just being accepted")
        self._pending.add(key)
        try:
            await self._blobs(peer, event, inline)
        except EdgeError as e:
            self._pending.discard(key)
            return None, False, self._no(peer, "blob", e.message)
        now = boottime()
        row = self.core.journal.new(
            event, item.pipeline, item.version, item.step, slot=item.slot, target=self.core.node_id, state=State.QUEUED,
            attempts=item.attempts, deadline=now + item.remaining_ms / 1e3, root_at=now - item.age_ms / 1e3,
            trace=item.trace[:MAX_TRACE], decided=True, claims={peer.id: 0},
        )  # fmt: skip
        return row, True, ACCEPTED

    def _room(self, item: Delivery) -> bool:
        """Each step has its own part of the queue: one for all could fill with rows that wait for each other's nodes.

        With a part for each, rows of the last step always find room once it has run some, then those of the step before.
        """
        steps = sum(len(p.steps) for p in self.core.definitions.current.values()) or 1
        pending = sum((p, s) == (item.pipeline, item.step) for _, p, s, _ in self._pending)
        journal = self.core.journal
        return journal.delivered_open[item.pipeline, item.step] + pending < max(1, journal.max_open // steps)

    def _known(self, peer: Any, item: Delivery, event: Event) -> Row | None:
        row = self.core.journal.find(event.id, item.pipeline, item.step, item.slot)
        if row is None:
            return None
        row.claims[peer.id] = 0
        row.turn += 1
        if row.end == "failed" and item.attempts > row.attempts:
            self.core.journal.reopen(row)
            row.attempts, row.state, row.target = item.attempts, State.QUEUED, self.core.node_id
            for blob in event.blobs():
                self.core.blobs.pin(blob.cid, str(row.n))
        elif row.state in (State.WAITING, State.SENDING, State.PLACED):
            # Somebody made the same event and chose us: run it here, or each might wait for the other.
            row.state, row.target = State.QUEUED, self.core.node_id
        elif row.state is State.QUEUED:
            return row
        return row

    def _check(self, peer: Any, item: Delivery) -> Event | Verdict:
        found = self.core.definitions.step(item.pipeline, item.version, item.step)
        if found is None:
            return self._no(peer, "version", f"{item.pipeline} {item.version} is not known here yet")
        pipeline, step = found
        try:
            if len(item.event) > MAX_EVENT:
                raise ValueError(f"larger than {MAX_EVENT} bytes")
            event = decode_event(item.event)
            if len(event.blobs()) > MAX_BLOBS or any(b.size > MAX_BLOB for b in event.blobs()):
                raise ValueError("too many or too large blobs")
        except (msgspec.MsgspecError, ValueError) as e:
            return self._no(peer, "bad", f"not an event: {e}")
        labels = self._labels(peer.id)
        if not event.source.startswith(f"/{peer.id}/") or not may_send(pipeline, step, event.step, labels):
            return self._no(peer, "not-allowed", f"{peer.name} may not send {event.step}'s events to {step.name}")
        if item.slot not in ("", self.core.node_id):
            return self._no(peer, "bad", "this delivery is for another node")
        if step.where and not selector(step.where).matches(self._labels(self.core.node_id)):
            return self._no(peer, "not-allowed", f"this node does not match {step.where}")
        if not self.policy.get(step.kind, True):
            return self._no(peer, "policy", f"policy.{step.kind} of this node says no")
        return event

    def _labels(self, node_id: str) -> dict[str, str]:
        return next((n.labels for n in self.core.mesh.live() if n.id == node_id), {"id": node_id})

    def _no(self, peer: Any, status: str, detail: str) -> Verdict:
        self.refused[status] = self.refused.get(status, 0) + 1
        if (peer.id, status) not in self._logged and status not in ("version", "full", "rate"):
            self._logged.add((peer.id, status))
            log.warning("delivery from %s refused (%s): %s", peer.name, status, detail)
        return Verdict(status, detail)

    def _rate(self, sender: str, events: int, size: int) -> bool:
        now = time.monotonic()
        bucket = self._buckets.setdefault(sender, [2 * EVENTS_PER_SECOND, 2 * BYTES_PER_SECOND, now])
        past = now - bucket[2]
        bucket[0] = min(2 * EVENTS_PER_SECOND, bucket[0] + past * EVENTS_PER_SECOND)
        bucket[1] = min(2 * BYTES_PER_SECOND, bucket[1] + past * BYTES_PER_SECOND)
        bucket[2] = now
        if bucket[0] < events or bucket[1] < size:
            return False
        bucket[0] -= events
        bucket[1] -= size
        return True

    # -- blobs --------------------------------------------------------------------------------------------------------

    async def _store(self, blobs: dict[str, bytes]) -> set[str]:
        stored: set[str] = set()
        for cid, data in blobs.items():
            if self.core.blobs.has(cid):
                stored.add(cid)
                continue
            try:
                made, _ = await self.core.blobs.put(data)
            except BlobError as e:
                log.debug("an inline blob was not stored: %s", e)
                continue
            if made == cid:
                stored.add(cid)
        return stored

    async def _blobs(self, peer: Any, event: Event, inline: set[str]) -> None:
        for blob in event.blobs():
            if blob.cid in inline or self.core.blobs.has(blob.cid):
                continue
            await self.core.fetch(blob.cid, [peer.id], FETCH_TIMEOUT)

    # -- report -------------------------------------------------------------------------------------------------------

    async def report(self, peer: Any, body: bytes) -> bytes:
        """A node tells how deliveries of ours went; answered once it is on the disk."""
        try:
            reports = msgspec.msgpack.decode(body, type=list[Report])
        except msgspec.MsgspecError as e:
            raise Refused(f"not a report: {e}", code="bad") from None
        for report in reports:
            row = self.core.journal.find(report.event, report.pipeline, report.step, report.slot)
            if row is not None and row.target == peer.id and not row.closed:
                self._reported(row, report)
        await self.core.journal.commit()
        return b""

    def _reported(self, row: Row, report: Report) -> None:
        if row.open:
            found = self.core.step_of(row)
            again = (
                found is not None and found[1].pick == "one" and row.attempts + (not report.free) < found[1].attempts
            )
            if report.end == "failed" and not report.final and again and boottime() < row.deadline:
                row.attempts += not report.free
                tried = row.target in row.avoid
                if not tried:
                    row.avoid.append(row.target)
                row.state, row.target, row.reason = State.WAITING, "", report.reason[:500]
                self.core.journal.commit(change=[row])
                self.core.later(row, 1.0 if tried else 0.0)
                return
            row.final = report.final
            end = report.end if report.end in ENDS_ELSEWHERE else "failed"
            self.core.end(row, end, report.reason)  # type: ignore[arg-type]
        if report.phase == 2 and not row.open:
            row.matched = row.matched or report.matched
            self.core.close_if_done(row, told=True)


ENDS_ELSEWHERE = frozenset({"delivered", "failed", "expired", "lost", "skipped", "deduplicated", "suppressed"})
