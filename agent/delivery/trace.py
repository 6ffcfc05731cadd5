"""Following an event from its root over all nodes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from agent.delivery.context import Context
from agent.delivery.rows import Row
from agent.delivery.wire import TraceRow
from agent.errors import EdgeError, NotFound, Refused
from agent.model.alert import alert_id
from agent.model.decoding import DAMAGED

log = logging.getLogger(__name__)

MAX_ROWS = 2000
MIN_PREFIX = 4
"""Shortest beginning of an id that is looked for: 20 of its 128 bits. Nodes of earlier versions ask for six characters."""


class Traces:
    """Answers other nodes, and gathers their answers."""

    def __init__(self, context: Context) -> None:
        self.context = context
        context.mesh.serve("pipeline.trace", self._serve)

    async def _serve(self, peer: Any, body: bytes) -> bytes:
        try:
            ident, root = msgspec.msgpack.decode(body, type=tuple[str, str])
        except DAMAGED as e:
            raise Refused(f"not a question: {e}", code="bad") from None
        return msgspec.msgpack.encode(self.here(root) if root else self.roots(ident))

    def roots(self, ident: str) -> list[str]:
        """The roots of the local events and alerts whose id begins with `ident`."""
        if len(ident) < MIN_PREFIX:
            return []
        journal = self.context.journal
        found = journal.stored_roots(ident)
        for pipeline, version, step in journal.stored_steps():
            if self._is_alert(pipeline, version, step):
                events = journal.stored_events(pipeline, version, step)
                found |= {root for event, root in events if alert_id(version, step, event).startswith(ident)}
        return sorted(found)[:10]

    def _is_alert(self, pipeline: str, version: str, step: str) -> bool:
        found = self.context.definitions.step(pipeline, version, step)
        return found is not None and self.context.definitions.kinds.of(found[1]).is_alert

    def _alert(self, row: Row) -> str:
        if not self._is_alert(row.pipeline, row.version, row.step):
            return ""
        return alert_id(row.version, row.step, row.event.id)

    def here(self, root: str) -> list[TraceRow]:
        """This node's rows of a root event."""
        return [
            TraceRow(
                node=self.context.node_name, pipeline=r.pipeline, step=r.step, event=r.event.id, alert=self._alert(r),
                parent=r.event.parent, type=r.event.type, time=r.event.time, state=r.state.name.lower(), end=r.end or "",
                reason=r.reason, target=r.target, attempts=r.attempts, trace=list(r.trace),
            )
            for r in self.context.journal.of_root(root)[:MAX_ROWS]
        ]  # fmt: skip

    async def _ask(self, ident: str, root: str, kind: Any) -> list[Any]:
        body = msgspec.msgpack.encode((ident, root))

        async def one(node: str) -> list[Any]:
            try:
                made: list[Any] = msgspec.msgpack.decode(
                    await self.context.mesh.call(node, "pipeline.trace", body, timeout=3.0), type=list[kind]
                )
            except (EdgeError, *DAMAGED) as e:
                log.debug("%s did not answer for the trace: %s", node, e)
                return []
            return made

        others = [n.id for n in self.context.mesh.live() if n.id != self.context.node_id]
        mine: list[Any] = self.here(root) if root else self.roots(ident)
        answers = await asyncio.gather(*(one(n) for n in others))
        return mine + [x for a in answers for x in a]

    async def gather(self, ident: str) -> tuple[str, list[TraceRow]]:
        """(root id, every live node's rows of it); raises NotFound."""
        ident = ident.lower()
        if len(ident) < MIN_PREFIX:
            raise NotFound(f"{ident!r} is too short for an id", hint=f"give at least its first {MIN_PREFIX} characters")
        roots = sorted(set(await self._ask(ident, "", str)))
        if len(roots) != 1:
            hint = "give more of the id" if roots else "`edge-agent events` shows recent events; old events are deleted"
            raise NotFound(f"{'no' if not roots else 'more than one'} event begins with {ident}", hint=hint)
        rows = await self._ask("", roots[0], TraceRow)
        if not rows:
            raise NotFound(f"the events of {roots[0]} are deleted", hint="`edge-agent events` shows recent events")
        return roots[0], rows
