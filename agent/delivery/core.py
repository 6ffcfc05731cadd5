"""What the parts of delivery share on one node, and the rules of settlement.

The parts meet here: `router.py` chooses nodes, `sender.py` and `receiver.py` move rows between them, `hosts.py` runs steps,
`reports.py` tells producers how it went. Each changes rows only through `Core`, which keeps the promises: a row ends once, a parent
ends when all its outputs are placed or ended, a branch closes when everything below it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from agent.clock import boottime
from agent.definitions import Definitions, passes
from agent.delivery.journal import Journal
from agent.delivery.rows import End, Row, State
from agent.errors import BlobError
from agent.model.event import Event
from agent.model.node import NodeRecord
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import matches

log = logging.getLogger(__name__)

Handler = Callable[[Any, bytes], Awaitable[bytes]]


class MeshLike(Protocol):
    """What delivery needs of the mesh."""

    def live(self) -> list[NodeRecord]: ...
    def is_live(self, node_id: str) -> bool: ...
    def serve(self, verb: str, handler: Handler) -> None: ...
    def on_change(self, callback: Callable[[NodeRecord, bool], None]) -> None: ...
    async def call(self, node_id: str, verb: str, body: bytes, *, timeout: float = 5.0) -> bytes: ...


class BlobsLike(Protocol):
    """What delivery needs of the blob store."""

    def has(self, cid: str) -> bool: ...
    def check_size(self, cid: str, declared: int | None) -> None: ...
    def pin(self, cid: str, owner: str) -> None: ...
    def unpin(self, owner: str) -> None: ...
    async def read(self, cid: str) -> bytes: ...
    async def put(self, data: bytes) -> tuple[str, int]: ...
    async def delete(self, cid: str) -> None: ...


Fetch = Callable[[str, list[str], float, int | None], Awaitable[Any]]
"""Bring a blob here: (cid, holders, timeout in seconds, declared size in bytes); raises BlobError or Unreachable."""


class Core:
    """Rows of this node and what follows from each change of one."""

    def __init__(
        self,
        node_id: str,
        node_name: str,
        mesh: MeshLike,
        journal: Journal,
        definitions: Definitions,
        blobs: BlobsLike,
        fetch: Fetch,
    ) -> None:
        self.node_id = node_id
        self.node_name = node_name
        self.mesh = mesh
        self.journal = journal
        self.definitions = definitions
        self.blobs = blobs
        self.fetch = fetch
        self.route: Callable[[Row], None] = lambda row: None
        self.later: Callable[[Row, float], None] = lambda row, seconds: None
        self.enqueue: Callable[[Row], None] = lambda row: None
        self.report: Callable[[Row], None] = lambda row: None
        self.heard: Callable[[Row, str], None] = lambda row, what: None
        """Told about each new row and each end, for `events -f` and `status`."""
        self._deleting: set[asyncio.Task[None]] = set()
        self._undeleted: set[str] = set()

    def step_of(self, row: Row) -> tuple[Pipeline, Step] | None:
        """The row's pipeline and step, in the row's own version."""
        return self.definitions.step(row.pipeline, row.version, row.step)

    # -- new rows -----------------------------------------------------------------------------------------------------

    def rows_for(
        self, pipeline: Pipeline, event: Event, maker: Row | None, *, root_at: float, trace: list[Any]
    ) -> list[Row]:
        """Rows for every step that follows the event's; where `when` says no they are made ended."""
        made: list[Row] = []
        for step in pipeline.children(event.step):
            parent = maker.n if maker is not None else 0
            fields = {"parent": parent, "deadline": root_at + step.deadline, "root_at": root_at, "trace": trace}
            if self.journal.find(event.id, pipeline.name, step.name, "") is not None:
                continue
            if not passes(step.when, event):
                made.append(self._ended(event, pipeline, step, "skipped", "when", fields))
            elif step.pick == "all" and not (step.dedupe or step.cooldown):
                made += self.frozen(event, pipeline, step, fields)
            else:
                made.append(self.journal.new(event, pipeline.name, pipeline.version, step.name, **fields))
        return made

    def frozen(self, event: Event, pipeline: Pipeline, step: Step, fields: dict[str, Any]) -> list[Row]:
        """`pick: all`: one row for each node that matches now; the list is in the journal before the first send."""
        nodes = matches(step, self.mesh.live())
        if not nodes:
            return [self._ended(event, pipeline, step, "skipped", "no node", fields)]
        rows = [
            self.journal.new(event, pipeline.name, pipeline.version, step.name, slot=n.id, target=n.id, **fields)
            for n in nodes
        ]
        return [r for r in rows if self.journal.find(*r.key) is None]

    def _ended(self, event: Event, pipeline: Pipeline, step: Step, end: End, why: str, fields: dict[str, Any]) -> Row:
        row = self.journal.new(event, pipeline.name, pipeline.version, step.name, **fields)
        row.state, row.end, row.reason = State.ENDED, end, why
        return row

    def take(self, rows: list[Row]) -> None:
        """Pin the blobs of new rows and send each on its way; the caller has handed them to the journal."""
        for row in rows:
            for blob in row.event.blobs():
                self.blobs.pin(blob.cid, str(row.n))
            self.heard(row, "made")
            if row.state is State.ENDED:
                self._after_end(row)
            elif row.state is State.QUEUED:
                self.enqueue(row)
            else:
                self.route(row)

    # -- changes ------------------------------------------------------------------------------------------------------

    def ran(self, row: Row, made: list[Row]) -> asyncio.Future[Any]:
        """The step ran and these rows came of it, in one transaction."""
        if not row.open:
            log.info("%s/%s: %s ended while it ran; what it made is dropped", row.pipeline, row.step, row.event.id)
            return self.journal.commit()
        before, row.state = row.state, State.RAN
        children = {r.n: r for r in (*made, *self.journal.children.get(row.n, ()))}
        waiting = [r for r in children.values() if r.state < State.PLACED]
        try:
            if waiting:
                done = self.journal.commit(add=made, change=[row])
            else:
                done = self.journal.commit(add=made, end=[(row, "delivered", "")])
        except Exception:
            row.state = before  # nothing of it is in the journal
            raise
        self.take(made)
        if not waiting:
            self._after_end(row)
        return done

    def placed(self, rows: list[Row]) -> None:
        """Another node holds these rows now."""
        now = boottime()
        for row in rows:
            row.state, row.looked = State.PLACED, now
        self.journal.commit(change=rows)
        for row in rows:
            self._settle_parent(row)

    def end(self, row: Row, how: End, why: str = "") -> None:
        """End a row, once."""
        if row.end is None:
            self.journal.commit(end=[(row, how, why)])
            self._after_end(row)

    def _after_end(self, row: Row) -> None:
        self.heard(row, "ended")
        self._settle_parent(row)
        if row.claims:
            self.report(row)
        self.close_if_done(row)

    def _settle_parent(self, row: Row) -> None:
        parent = self.journal.by_n.get(row.parent)
        if parent is not None and parent.state is State.RAN:
            self.settle(parent)

    def settle(self, row: Row) -> None:
        """End a row that ran, once each of its outputs is placed or ended."""
        if all(c.state >= State.PLACED for c in self.journal.children[row.n]):
            self.end(row, "delivered")

    def close_if_done(self, row: Row, *, told: bool = False) -> None:
        """Close the row when its branch has ended; `told`: the node that ran it says so of its own part."""
        if row.closed or row.open:
            return
        elsewhere = row.target not in ("", self.node_id) and row.end in ("delivered", "failed")
        if elsewhere and not told and not self.journal.children.get(row.n):
            return
        children = self.journal.children.get(row.n, ())
        if not all(c.closed for c in children):
            return
        row.matched = row.matched or any(c.matched for c in children)
        found = self.definitions.get(row.pipeline, row.version)
        keep = 0.0
        if found is not None:
            keep = found.keep.matched if row.matched else found.keep.unmatched
        written = self.journal.close_row(row, keep=keep)
        if row.claims:
            self.report(row)
        self.blobs.unpin(str(row.n))
        self._drop({b.cid for b in row.event.blobs()}, written)
        parent = self.journal.by_n.get(row.parent)
        if parent is not None:
            self.close_if_done(parent)

    def _drop(self, cids: Iterable[str], written: asyncio.Future[Any]) -> None:
        """Delete those that nothing here needs, once that is on the disk: a death before would take their row up again."""
        if gone := [cid for cid in cids if not self.journal.needs(cid)]:
            task = asyncio.create_task(self._delete(gone, written))
            self._deleting.add(task)
            task.add_done_callback(self._deleting.discard)

    async def _delete(self, cids: list[str], written: asyncio.Future[Any]) -> None:
        await asyncio.wait({written})
        if written.exception() is None:
            await asyncio.gather(*(self._delete_one(cid) for cid in cids if not self.journal.needs(cid)))

    async def _delete_one(self, cid: str) -> None:
        try:
            await self.blobs.delete(cid)
        except BlobError as e:
            if cid not in self._undeleted:
                log.warning("%s could not be deleted and is tried again: %s", cid, e.message)
            self._undeleted.add(cid)
        else:
            self._undeleted.discard(cid)

    def expire_kept(self) -> None:
        """Delete photos that were kept for a match until now, and those that could not be deleted before."""
        if self._undeleted:
            self._drop(self._undeleted, self.journal.commit())
        now = boottime()
        over = [cid for cid, until in self.journal.kept.items() if until <= now]
        if over:
            self._drop(over, self.journal.forget_kept(over))
