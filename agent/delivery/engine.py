"""The pipelines of one node: journal, delivery, deciders, presence, sources; the face that the service uses."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from agent.blobs import parse_cid
from agent.clock import boottime
from agent.definitions import Definitions
from agent.delivery.core import BlobsLike, Core, Fetch, MeshLike
from agent.delivery.deciders import Deciders
from agent.delivery.hosts import Hosts, StepMaker
from agent.delivery.journal import Journal
from agent.delivery.receiver import Receiver
from agent.delivery.reports import Reports
from agent.delivery.router import Router
from agent.delivery.rows import Row, State
from agent.delivery.sender import Senders
from agent.delivery.trace import Traces
from agent.delivery.validation import check_event
from agent.errors import BlobError, Refused
from agent.model.event import Event, event_id, now, traceparent
from agent.model.pipeline import Pipeline

log = logging.getLogger(__name__)

RECENT = 500


class Pipelines:
    """Build it, `load`, set `workshop`, then `run`."""

    def __init__(
        self, node_id: str, node_name: str, mesh: MeshLike, journal: Journal, blobs: BlobsLike, fetch: Fetch
    ) -> None:
        self.journal = journal
        self.definitions = Definitions(journal.storage, journal.versions_in_use)
        self.core = Core(node_id, node_name, mesh, journal, self.definitions, blobs, fetch)
        self.deciders = Deciders(node_id, mesh, journal)
        self.deciders.longest = self.definitions.longest
        self.senders = Senders(self.core)
        self.router = Router(self.core, self.senders, self.deciders)
        self.senders.later = self.router.later
        self.receiver = Receiver(self.core)
        self.reports = Reports(self.core)
        self.hosts = Hosts(self.core, self._make, self._stop)
        self.traces = Traces(self.core)
        self.workshop: StepMaker | None = None
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self.core.heard = self._heard

    def load(self) -> None:
        """Read the journal and pin what its rows need, before anything can be evicted; raises EdgeError where it cannot be used."""
        self.journal.open()
        self.definitions.load()
        self.deciders.load()
        for row in self.journal.rows.values():
            if not row.closed:
                for blob in row.event.blobs():
                    self.core.blobs.pin(blob.cid, str(row.n))
        self.pin_modules()

    def pin_modules(self) -> None:
        """Keep the modules of the current pipelines that are here: other nodes fetch them from whoever has them."""
        for cid in self.modules():
            try:
                self.core.blobs.pin(cid, f"module:{cid}")
            except BlobError as e:
                log.debug("a module has no CID: %s", e)

    async def run(self) -> None:
        """Deliver until cancelled; ends with EdgeError `journal.write` when the journal cannot be written any more."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.journal.storage.failing())
                for part in (self.router, self.senders, self.reports, self.hosts):
                    tasks.create_task(part.run())
                await asyncio.sleep(0)
                self._resume()
        finally:
            if self.workshop is not None:
                await self.workshop.close()

    def _resume(self) -> None:
        """Take up what the journal says was going on."""
        for row in self.journal.open_rows():
            if row.state in (State.WAITING, State.SENDING):
                self.core.route(row)
            elif row.state is State.QUEUED:
                self.core.enqueue(row)
            elif row.state is State.RAN:
                self.core.settle(row)
        for row in sorted(self.journal.rows.values(), key=lambda r: -r.n):
            self.core.close_if_done(row)
        self.reports.load()

    async def _make(self, pipeline: Pipeline, step: Any) -> Any:
        assert self.workshop is not None
        return await self.workshop.make(pipeline, step)

    async def _stop(self, key: tuple[str, str, str]) -> None:
        if self.workshop is not None:
            await self.workshop.stop(key)

    # -- what people ask ----------------------------------------------------------------------------------------------

    def may_read(self, node_id: str, cid: str) -> bool:
        """Whether a node may have a blob from here: an event of ours for it names it, or a pipeline's module is it.

        Not by what it delivered itself: a node could name any CID in an event and have the photo for the asking.
        """
        rows = (self.journal.by_n[n] for n in self.journal.by_cid.get(cid, ()) if n in self.journal.by_n)
        if any(node_id in (r.target, r.slot) for r in rows):
            return True
        return cid in self.modules()

    def modules(self) -> set[str]:
        """The CIDs of all modules of the current pipelines."""
        found: set[str] = set()
        for pipeline in self.definitions.current.values():
            for step in pipeline.steps:
                if step.kind in ("tail", "wasm"):
                    found.add((step.task["wasm"] if step.kind == "tail" else step.task)["module"])
        return found

    def totals(self) -> dict[str, dict[str, dict[str, int]]]:
        """Accepted, ends and open of this node by pipeline and step."""
        made: dict[str, dict[str, dict[str, int]]] = {}
        for (pipeline, step), counts in self.journal.totals().items():
            made.setdefault(pipeline, {})[step] = counts
        return made

    async def trigger(self, pipeline: Pipeline, parent: str, kind: str, data: dict[str, Any], ident: str = "") -> str:
        """Put an event into the pipeline as if the step `parent` had made it here; returns its id."""
        ident = ident or event_id("trigger", pipeline.version, str(boottime()), now())
        event = Event(
            id=ident, source=f"/{self.core.node_id}/{pipeline.name}/{parent}", type=kind, time=now(),
            subject=str(data.get("mac", "")), data=data, root=ident, traceparent=traceparent(ident),
            pipeline=pipeline.name, step=parent,
        )  # fmt: skip
        try:
            check_event(event)
            for blob in event.blobs():
                parse_cid(blob.cid)
        except (msgspec.ValidationError, ValueError, BlobError) as e:
            raise Refused(f"not an event that nodes would take: {e}", code="bad") from None
        rows = self.core.rows_for(pipeline, event, None, root_at=boottime(), trace=[])
        done = self.journal.commit(add=rows)
        self.core.take(rows)
        await done
        return ident

    def _heard(self, row: Row, what: str) -> None:
        if what != "made" or row.claims:
            return  # the node that made an event tells about it
        if self.recent and self.recent[-1]["id"] == row.event.id:
            return
        shown: dict[str, Any] = {**msgspec.to_builtins(row.event), "node": self.core.node_name}
        self.recent.append(shown)
        self.on_event(shown)
