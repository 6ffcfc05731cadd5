"""Events as they pass, and the way of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from agent.api import results
from agent.api.following import followed
from agent.api.requests import EventsQuery
from agent.delivery import DeliveryEngine, TraceRow
from agent.mesh import Mesh
from agent.model.event import Event
from agent.steps import NodeSteps
from agent.uplink import EgressLedger


class Events:
    """Events of this node and of others, as they pass."""

    def __init__(self, mesh: Mesh, delivery: DeliveryEngine[NodeSteps], ledger: EgressLedger) -> None:
        self._mesh, self._delivery, self._ledger = mesh, delivery, ledger

    async def passing(self, asked: EventsQuery) -> AsyncIterator[results.EventRow]:
        """The newest `limit` events that this node made, oldest first, then, with `follow`, new events of all nodes."""

        def fitting(told: dict[str, Any]) -> results.EventRow | None:
            row = msgspec.convert({"specversion": SPECVERSION, **told}, results.EventRow)
            return row if asked.type in ("", row.type) and asked.pipeline in ("", row.pipeline) else None

        recent = [row for event in self._delivery.recent if (row := fitting(event)) is not None]
        for row in recent[-asked.limit :] if asked.limit else []:
            yield row
        if asked.follow:
            streams = [self._mesh.tail_logs("events")]
            async with aclosing(followed(streams, lambda _, told: fitting(told))) as rows:  # type: ignore[type-var]
                async for row in rows:
                    yield row

    async def trace(self, ident: str) -> results.Trace:
        """The way of an alert or event over all nodes; `ident` is the beginning of its id. Raises NotFound."""
        ident = ident[:256].lower()
        root, rows = await self._delivery.traces.gather(ident)
        named = [r for r in rows if ident and (r.alert.startswith(ident) or r.event.startswith(ident))]
        whole = max(named or rows, key=lambda r: (r.alert.startswith(ident), len(r.trace)))
        hops = [results.TraceHop(**msgspec.structs.asdict(h)) for h in whole.trace]
        if hops and hops[-1].step == whole.step:
            hops[-1].end = whole.end
        photos = [
            results.TracePhoto(b.name, b.cid, b.size)
            for event in [r.event for r in self._delivery.journal.of_root(root) if r.event.id == whole.event][-1:]
            for b in event.blobs()
        ]
        sent = await asyncio.to_thread(self._ledger.of_event, whole.alert or whole.event)
        return results.Trace(
            id=whole.alert or whole.event,
            root=root,
            pipeline=whole.pipeline,
            type=whole.type,
            time=whole.time,
            complete=all(r.end for r in rows),
            total_ms=hops[-1].at_ms if hops else 0.0,
            hops=hops,
            branches=branches(rows),
            photos=photos,
            bytes_up=sum(r.up for r in sent) or None,
        )


SPECVERSION = Event(id="", source="", type="", time="").specversion
"""The mesh leaves it out, as all its events have the same one; a CloudEvent has it."""


def branches(rows: list[TraceRow]) -> list[results.Branch]:
    """Every step's ends on every node, counted."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for r in rows:
        key = (r.step, r.node, r.end or r.state, r.reason)
        counts[key] = counts.get(key, 0) + 1
    return [results.Branch(*key, count) for key, count in counts.items()]
