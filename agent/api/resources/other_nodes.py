"""The status of the other nodes: asked for when it is shown, and added to this node's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import msgspec

from agent.api import results
from agent.errors import EdgeError, NotFound, Refused, Unreachable
from agent.mesh import Mesh
from agent.model.decoding import DAMAGED
from agent.model.health import SEVERITIES, Warning
from agent.model.node import ROLE_OPERATOR, NodeRecord

STATUS = "status.show"
AT_ONCE = 16
"""Most nodes that are asked at the same time."""
MOST = 256
"""Most nodes that are asked."""
PATIENCE = 2.0
"""Seconds that a node has to answer."""
KEPT = 5.0
"""Seconds for which an answer is used again, so that several viewers cost as much as one."""


class OtherNodes:
    """Asks live nodes for their status. Only an operator is answered; other nodes see the codes in the records."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._kept: dict[str, tuple[float, results.Status | None]] = {}
        self._asking = asyncio.Lock()

    async def one(self, node: str) -> results.Status:
        """The status of a node by name or id; raises NotFound, Refused, Unreachable."""
        record = self._mesh.node(node)
        if self._mesh.me.role != ROLE_OPERATOR:
            hint = f"run it on an operator, or on {record.name}"
            raise Refused(f"{self._mesh.me.name} is not an operator", hint=hint, code="not-operator")
        return await self._ask(record)

    async def added_to(self, own: results.Status) -> results.Status:
        """This node's status with the counts summed over the nodes, and the warnings and errors of all."""
        states = await self._states()
        answered = [(record, state) for record, state in states if state is not None]
        warnings = [*own.warnings, *(w for record, state in states for w in _warnings(record, state))]
        return msgspec.structs.replace(
            own,
            pipelines=[_pipeline(p, answered) for p in own.pipelines],
            journal=_journal([own.journal, *(s.journal for _, s in answered)]),
            warnings=sorted(warnings, key=lambda w: (SEVERITIES.index(w.severity), w.node, w.code, w.subject)),
            counted=[own.node.name, *sorted(record.name for record, _ in answered)],
        )

    async def _states(self) -> list[tuple[NodeRecord, results.Status | None]]:
        """The live nodes, each with its status or None where it gave none."""
        records = self._mesh.live()[1 : MOST + 1]
        if self._mesh.me.role != ROLE_OPERATOR:
            return [(record, None) for record in records]
        room = asyncio.Semaphore(AT_ONCE)
        async with self._asking:
            self._kept = {r.id: self._kept[r.id] for r in records if r.id in self._kept}
            return list(await asyncio.gather(*(self._kept_or_asked(record, room) for record in records)))

    async def _kept_or_asked(
        self, record: NodeRecord, room: asyncio.Semaphore
    ) -> tuple[NodeRecord, results.Status | None]:
        at, state = self._kept.get(record.id, (0.0, None))
        if not at or time.monotonic() - at > KEPT:
            async with room:
                try:
                    state = await self._ask(record)
                except EdgeError:
                    state = None
            self._kept[record.id] = time.monotonic(), state
        return record, state

    async def _ask(self, record: NodeRecord) -> results.Status:
        try:
            raw = await self._mesh.call(record.id, STATUS, b"", timeout=PATIENCE)
        except NotFound:
            raise Unreachable(f"{record.name} has a version that does not tell its status", hint="update it") from None
        try:
            return msgspec.json.decode(raw, type=results.Status)
        except DAMAGED as e:
            hint = "the two may have versions that differ too much: see edge-agent nodes"
            raise Unreachable(f"the status of {record.name} cannot be read: {e}", hint=hint) from None


def _warnings(record: NodeRecord, state: results.Status | None) -> Iterator[Warning]:
    """The warnings of a node: its own texts, or where it gave none the codes of its record."""
    if state is not None:
        for w in state.warnings:
            if w.severity in SEVERITIES:
                yield msgspec.structs.replace(w, node=record.name)
        return
    for c in record.health:
        text = f"{c.count} warnings of this kind" if c.count > 1 else "a warning of this kind"
        remedy = f"on an operator: edge-agent status --node {record.name}"
        yield Warning(c.code, record.name, f"{record.name} has {text}", remedy, c.severity, record.name)


def _pipeline(own: results.PipelineState, others: list[tuple[NodeRecord, results.Status]]) -> results.PipelineState:
    there = {
        (record.name, step.step): step
        for record, state in others
        for pipeline in state.pipelines
        if pipeline.name == own.name
        for step in pipeline.steps
    }
    steps = [_step(s, [(node, t) for (node, step), t in there.items() if step == s.step]) for s in own.steps]
    return msgspec.structs.replace(own, steps=steps)


def _step(own: results.StepState, there: list[tuple[str, results.StepState]]) -> results.StepState:
    every = [own, *(s for _, s in there)]
    return msgspec.structs.replace(
        own,
        accepted=sum(s.accepted for s in every),
        open=sum(s.open for s in every),
        ends=_ends([s.ends for s in every]),
        running=sum(s.running for s in every),
        queued=sum(s.queued for s in every),
        lag_s=max(s.lag_s for s in every),
        run_ms=next((s.run_ms for s in every if s.run_ms is not None), None),
        failed_batches=sum(s.failed_batches for s in every),
        elsewhere=[results.StepFault(node, s.state, s.error, s.hint) for node, s in there if s.error],
    )


def _journal(every: list[results.JournalState]) -> results.JournalState:
    return results.JournalState(
        accepted=sum(j.accepted for j in every),
        open=sum(j.open for j in every),
        max_open=sum(j.max_open for j in every),
        ends=_ends([j.ends for j in every]),
        unread=sum(j.unread for j in every),
        durable=every[0].durable,
        in_memory=sum(j.in_memory for j in every),
    )


def _ends(every: list[results.Ends]) -> results.Ends:
    return results.Ends(**{end: sum(getattr(e, end) for e in every) for end in results.Ends.__struct_fields__})
