"""Reports the ends of events to their producers until they answer."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from agent.delivery.changes import Changes
from agent.delivery.context import Context
from agent.delivery.rows import Row
from agent.delivery.wire import Report
from agent.errors import EdgeError
from agent.model.node import NodeRecord

log = logging.getLogger(__name__)

BATCH = 256
AGAIN = 1.0
WAIT = 0.05
"""Seconds that a report waits for others to the same node: one signed request for an event that settled and for all that
closed with it, after the events that are on their way, which are more urgent. A failure is reported at once.
"""


class Reports:
    """One set of rows to tell about for each node; a row leaves it when the node has answered."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._due: dict[str, dict[int, Row]] = {}
        self._busy: set[str] = set()
        self._some = asyncio.Event()
        self._waiting: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None
        context.mesh.on_change(self._mesh_changed)

    def add(self, row: Row) -> None:
        """Report the row's new phase to its claimants."""
        for node, knows in row.claims.items():
            if knows < phase(row):
                due = self._due.setdefault(node, {})
                due[row.n] = row
                self._some.set()
                if row.end == "failed" or len(due) >= BATCH:
                    self._pump(node)
                elif node not in self._waiting:
                    self._waiting.add(node)
                    asyncio.get_running_loop().call_later(WAIT, self._waited, node)

    async def run(self) -> None:
        """Own the calls until cancelled; failed calls are retried every second while there is something to report."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                while True:
                    for node in list(self._due):
                        self._pump(node)
                    self._some.clear()
                    if not any(self._due.values()):
                        await self._some.wait()
                    await asyncio.sleep(AGAIN)
            finally:
                self._tasks = None

    def _waited(self, node: str) -> None:
        self._waiting.discard(node)
        self._pump(node)

    def _mesh_changed(self, record: NodeRecord, alive: bool) -> None:
        if alive:
            self._pump(record.id)

    def _pump(self, node: str) -> None:
        if (
            self._tasks is not None
            and node not in self._busy
            and self._due.get(node)
            and self.context.mesh.is_live(node)
        ):
            self._busy.add(node)
            self._tasks.create_task(self._tell(node))

    async def _tell(self, node: str) -> None:
        try:
            while rows := list(self._due.get(node, {}).values())[:BATCH]:
                ready = [(row, phase(row), row.turn, _report(row)) for row in rows if not row.open]
                # A producer that hears it forgets the event and its photos: from now on this journal must know the end.
                await self.context.journal.commit()
                told = [(row, what, turn, report) for row, what, turn, report in ready if row.turn == turn]
                body = msgspec.msgpack.encode([report for *_, report in told])
                await self.context.mesh.call(node, "pipeline.report", body, timeout=10.0)
                changes = Changes()
                for row, what, turn, _ in told:
                    if row.turn == turn:
                        self.context.lifecycle.told(row, node, what, changes)
                for row in rows:
                    if row.open or row.claims.get(node, 2) >= phase(row):
                        self._due[node].pop(row.n, None)
                self.context.apply(changes)
        except EdgeError as e:
            log.debug("%s has not heard the reports: %s", node, e)
        finally:
            self._busy.discard(node)


def phase(row: Row) -> int:
    """The phase to report: 0 nothing yet, 1 settled, 2 closed."""
    return 2 if row.closed else 0 if row.open else 1


def _report(row: Row) -> Report:
    return Report(
        row.event.id,
        row.pipeline,
        row.step,
        row.slot,
        phase(row),
        row.end or "failed",
        row.reason,
        row.matched,
        row.final,
        row.free,
        row.attempts,
    )
