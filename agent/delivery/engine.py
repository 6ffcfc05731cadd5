"""The delivery engine of one node: its parts, and the actions that follow a change of a row."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from agent.clock import boottime
from agent.definitions import Definitions
from agent.delivery.changes import Action, Changes, Do
from agent.delivery.context import BlobsLike, Context, Fetch, MeshLike
from agent.delivery.deciders import Deciders
from agent.delivery.hosts import Hosts, StepMaker
from agent.delivery.journal import Journal
from agent.delivery.lifecycle import Lifecycle
from agent.delivery.new_rows import RowMaker
from agent.delivery.policy import Check, allowed
from agent.delivery.receiver import Receiver
from agent.delivery.reports import Reports
from agent.delivery.router import Router
from agent.delivery.rows import Row
from agent.delivery.sender import Senders
from agent.delivery.table import KeptPhotos
from agent.delivery.trace import Traces
from agent.delivery.validation import check_event
from agent.errors import BlobError, Refused
from agent.model.cid import parse_cid
from agent.model.event import Event, event_id, now, traceparent
from agent.model.pipeline import Keep, Pipeline
from agent.model.step_kind import Kinds

log = logging.getLogger(__name__)

RECENT = 500
S = TypeVar("S", bound=StepMaker)


def _ignore(_: Any) -> None:
    """The default listener: it does nothing."""


class DeliveryEngine(Generic[S]):
    """Build it, `load`, then `run`."""

    def __init__(
        self, node_id: str, node_name: str, mesh: MeshLike, journal: Journal, blobs: BlobsLike, fetch: Fetch,
        steps: Callable[[Context, Deciders], S], *, kinds: Kinds, check: Check = allowed,
        show: Callable[[dict[str, Any]], None] = _ignore, definition_changed: Callable[[str], None] = _ignore,
    ) -> None:  # fmt: skip
        """`steps` makes the work of steps here, `kinds` are those that this node knows, `check` raises Refused for a task that
        its owner does not allow; `show` gets each event that is made here, `definition_changed` each pipeline that changes."""
        self.journal = journal
        self.definitions = Definitions(journal.storage, kinds, journal.versions_in_use, definition_changed)
        self.lifecycle = Lifecycle(journal, node_id, self._keep_of)
        for need in (journal, KeptPhotos(journal), self.definitions, self.definitions.old_modules):
            blobs.needs.add(need)
        self.context = context = Context(
            node_id, node_name, mesh, journal, self.definitions, blobs, fetch, RowMaker(journal), self.lifecycle, self.apply,
            self.apply_written,
        )  # fmt: skip
        self.deciders = Deciders(node_id, mesh, journal, self.definitions.longest)
        self.senders = Senders(context)
        self.router = Router(context, self.deciders, self.tidy, check)
        self.receiver = Receiver(context, check)
        self.reports = Reports(context)
        self.traces = Traces(context)
        self._recent: deque[bytes] = deque(maxlen=RECENT)
        """The newest events as JSON: many small objects that stay would keep memory from being given back after a burst."""
        self._shown = ""
        self.steps = steps(context, self.deciders)
        self.hosts = Hosts(context, self.steps)
        self._publish = show

    # -- actions after a change of a row ---------------------------------------------------------------------------

    def apply(self, changes: Changes) -> asyncio.Future[Any]:
        """Write the changes and start their actions at once; resolves when they are on the disk."""
        written = self._write(changes)
        self._follow(changes)
        return written

    async def apply_written(self, changes: Changes) -> None:
        """Write the changes, wait until they are on the disk, then start their actions."""
        await self._write(changes)
        self._follow(changes)

    def _write(self, changes: Changes) -> asyncio.Future[Any]:
        if changes.on_disk:
            return self.journal.write(changes)
        nothing: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    def _follow(self, changes: Changes) -> None:
        if released := changes.released():
            self.context.blobs.release(set(released), after=self.journal.commit())
        for action in changes.actions:
            self._do(action)
        for event in changes.shown:
            self._show_event(event)

    def _do(self, action: Action) -> None:
        """Hand each action to its part of the engine."""
        what, row, after = action
        match what:
            case Do.ROUTE:
                self.router.later(row, after) if after else self.router.submit(row)
            case Do.SEND:
                self.senders.send(row)
            case Do.RUN if after:
                asyncio.get_running_loop().call_later(after, self.hosts.enqueue, row)
            case Do.RUN:
                self.hosts.enqueue(row)
            case Do.REPORT:
                self.reports.add(row)
            case Do.SHOW:
                self._show(row)

    def _keep_of(self, pipeline: str, version: str) -> Keep | None:
        found = self.definitions.get(pipeline, version)
        return found.keep if found is not None else None

    def tidy(self) -> None:
        """Let closed rows leave the memory, and photos go whose time is over."""
        self.journal.rest()
        self.journal.give_back()
        self.expire_kept()

    def expire_kept(self) -> None:
        """Delete photos that were kept for a match until now, and blobs that could not be deleted before."""
        self.context.blobs.retry()
        now = boottime()
        if over := [cid for cid, until in self.journal.kept.items() if until <= now]:
            self.context.blobs.release(over, after=self.journal.forget_kept(over))

    # -- life ---------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read the journal, before any blob can be deleted or evicted; raises EdgeError where it cannot be used."""
        self.journal.open()
        self.definitions.load()
        self.deciders.load()

    async def run(self) -> None:
        """Deliver until cancelled; ends with EdgeError `journal.write` when the journal cannot be written any more."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.journal.storage.failing())
                for part in (self.router, self.senders, self.reports, self.hosts):
                    tasks.create_task(part.run())
                await asyncio.sleep(0)
                self.apply(self.lifecycle.resumed())
        finally:
            await self.steps.close()

    @property
    def recent(self) -> list[dict[str, Any]]:
        """The newest events that this node made, oldest first."""
        return [msgspec.json.decode(e) for e in self._recent]

    @property
    def newest(self) -> dict[str, Any] | None:
        """The newest of them; None before the first."""
        return msgspec.json.decode(self._recent[-1]) if self._recent else None

    # -- questions of users -----------------------------------------------------------------------------------------------

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
            id=ident, source=f"/{self.context.node_id}/{pipeline.name}/{parent}", type=kind, time=now(),
            subject=str(data.get("mac", "")), data=data, root=ident, traceparent=traceparent(ident),
            pipeline=pipeline.name, step=parent,
        )  # fmt: skip
        try:
            check_event(event)
            for blob in event.blobs():
                parse_cid(blob.cid)
        except (msgspec.ValidationError, ValueError, BlobError) as e:
            raise Refused(f"nodes would refuse the event: {e}", code="bad") from None
        rows = self.context.rows.rows_for(pipeline, event, None, self.context.mesh.live, root_at=boottime(), trace=())
        alone = [] if pipeline.children(parent) else [event]
        await self.apply(self.lifecycle.accepted(rows, alone=alone))
        return ident

    def _show(self, row: Row) -> None:
        if not row.claims:  # the node that made an event publishes it
            self._show_event(row.event)

    def _show_event(self, event: Event) -> None:
        if self._shown == event.id:
            return
        shown: dict[str, Any] = {**msgspec.to_builtins(event), "node": self.context.node_name}
        self._shown = event.id
        self._recent.append(msgspec.json.encode(shown))
        self._publish(shown)
