"""Source steps: a log, through its filter, into the journal; position and events in one transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from agent.backoff import Backoff
from agent.clock import boottime
from agent.delivery import MAX_FIELD, Context, Row
from agent.errors import EdgeError, StepFailed
from agent.model.alert import Hop
from agent.model.event import Event, event_id, now, traceparent
from agent.model.pipeline import Pipeline, Step
from agent.model.task import FilterRunner, LineEvent, StepLog
from agent.sources import MAX_BATCH, Batch, LineSource, SenderCount
from agent.steps.log_clock import LIVE, LogClock
from agent.steps.source_counts import SourceCounts, Tally

log = logging.getLogger(__name__)

RESERVE = 0.1
"""Part of the journal's room that sources leave for deliveries of other nodes."""
POSITIONS = 0.1
"""Seconds between two positions without rows: a backlog has hundreds of batches a second."""
CLOCK = "clock"
"""The key of the log's clock in a stored position, beside those of the source."""
DENSE = 500
"""Events of one batch above which the next batches should not grow: rows are made on the event loop and committed at once."""
PART = 250
"""Most rows that are accepted at once: a batch may have tens of thousands of events, and other work waits meanwhile."""
WORKS = 5.0
"""Seconds after which a source that was opened works, also without a line: a port in use or a missing program fails at once."""
BACKOFF = Backoff((1.0, 5.0, 30.0))
"""Pauses before a log is read again after an error."""


class Located(NamedTuple):
    """An event of the filter, where its line came from, and the line."""

    event: LineEvent
    origin: tuple[str, int]
    text: bytes
    sender: str


def located(events: Sequence[LineEvent], batch: Batch) -> Iterator[Located]:
    """Where the events' lines are, in the lines' order; raises StepFailed at once for a line that is not there.

    Events in that order, as filters give them, are decoded one after the other: those of a burst are never all in memory.
    """
    try:
        if not _in_order(events, batch):
            ascending = sorted(events, key=lambda e: e.line)  # cheap to find
            events = sorted(ascending, key=lambda e: batch.place(e.line, e.at))
    except IndexError as e:
        raise StepFailed(f"the filter names {e} in its batch", code="step.answer") from None
    return (_located(e, batch, batch.place(e.line, e.at)) for e in events)


def _in_order(events: Sequence[LineEvent], batch: Batch) -> bool:
    last = -1
    for event in events:
        last, before = batch.place(event.line, event.at), last
        if last < before:
            return False
    return True


def _located(event: LineEvent, batch: Batch, at: int) -> Located:
    return Located(event, batch.origin(0, at), batch.line(0, at), batch.sender(0, at))


def access_point_of(found: Located, node: str) -> str:
    """The access point that a line is about: as the filter names it, else the line's sender, else this node."""
    return found.event.access_point or found.sender or node


def _told(error: EdgeError) -> str:
    """The error, with the last line that a filter wrote about it: why a `--form` cannot be used, for example."""
    last = [line for line in error.fields.get("stderr", ()) if line.strip()][-1:]
    return ": ".join([error.message, *last])[:400]


@dataclass(eq=False)
class TailRunner:
    """One log of one source step on this node."""

    context: Context
    pipeline: Pipeline
    step: Step
    source: LineSource
    stream: str
    make_filter: Callable[[], Awaitable[FilterRunner]]
    _: KW_ONLY
    log: StepLog
    error: str = ""
    hint: str = ""
    """The remedy of `error`, where it is known."""
    clock: LogClock = field(default_factory=LogClock)
    """Of this log; it is stored with the position."""
    _position: Any = None
    """Of the last batch, while it is not handed to the journal."""
    _timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """See SourceRunner."""
        return self.source.name

    @property
    def problem(self) -> str:
        """See SourceRunner."""
        return self.error or self.source.problem

    def __post_init__(self) -> None:
        self._tally = Tally(self.source)

    @property
    def events(self) -> int:
        """Events that the filter found."""
        return self._tally.events

    def counts(self) -> SourceCounts:
        """See SourceRunner."""
        return msgspec.structs.replace(self._tally.counts(), clock_s=self.clock.difference(time.time()))

    def senders(self) -> list[SenderCount]:
        """See SourceRunner."""
        return self.source.senders()

    async def run(self) -> None:
        """Read until cancelled; after a failure reading starts again from the committed position."""
        attempt = 0
        works: asyncio.TimerHandle | None = None
        while True:
            try:
                program = await self.make_filter()
                try:
                    await program.feed(b"", self.log)  # compiles it, so that the first line need not wait
                    position = self.context.journal.positions.get(self.stream)
                    self.clock = LogClock((position or {}).get(CLOCK))
                    works = asyncio.get_running_loop().call_later(WORKS, self._works)
                    async with aclosing(self.source.batches(position)) as batches:  # type: ignore[type-var]
                        async for batch in batches:
                            await self._room()
                            await self._batch(program, batch)
                            attempt = 0
                            self._works()
                            del batch  # or it stays until there are new lines
                finally:
                    if works is not None:
                        works.cancel()
                    self._stop_timer()
                    await program.close()
                return
            except EdgeError as e:
                self.error, self.hint = _told(e), e.hint
                log.warning("%s/%s: %s; reading goes on from the same line", self.pipeline.name, self.step.name, e)
                attempt += 1
                await asyncio.sleep(BACKOFF.after(attempt))

    def _works(self) -> None:
        self.error = self.hint = ""

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._later()

    def _space(self) -> float:
        """How many rows this source may add now."""
        return self.context.journal.room() - self.context.journal.max_open * RESERVE

    async def _room(self) -> None:
        """Back-pressure: read no further while the journal is nearly full."""
        while self._space() <= 0:
            await asyncio.sleep(0.05)

    async def _batch(self, program: FilterRunner, batch: Batch) -> None:
        read_at, now_ = boottime(), time.time()
        if batch.data:
            self._tally.heard()
            if batch.max_age <= LIVE:
                self.clock.hear(batch.data[batch.data.rfind(b"\n", 0, -1) + 1 :], now_)
            elif batch.anchor is not None and 0 <= now_ - batch.anchor.changed <= LIVE:
                self.clock.hear(batch.anchor.line, now_)  # the newest line of this backlog was just written
        found = await self._filtered(program, batch) if batch.data else ()
        rows: list[Row] = []
        alone: list[Event] = []
        senders: list[str] = []
        followed = bool(self.pipeline.children(self.step.name))
        origin, index = ("", -1), 0
        for item in found:
            origin, index = item.origin, index + 1 if item.origin == origin else 0
            senders.append(item.sender)
            if self.step.emit and item.event.type not in self.step.emit:
                continue
            point = access_point_of(item, self.context.node_name)
            age = self.clock.age(item.text, point, now_, bound=batch.max_age, anchor=batch.anchor)
            event, made = self._rows(item, index, read_at, age, point)
            if rows and len(rows) + len(made) > min(self._space(), PART):
                # The position stays before the batch: after an end of the agent its first rows come again, with the same ids.
                await self._commit(rows, alone)
                rows, alone = [], []
                await self._room()
            rows += made
            if not followed:
                alone.append(event)
                if len(alone) == PART:
                    self._show(alone)
                    alone = []
                    await asyncio.sleep(0)
        self._tally.found(senders)
        batch.dense = batch.dense or len(senders) > DENSE
        self._position = batch.position if batch.position is not None else self._position
        if rows:
            # The next actions start before the wait: a cancelled wait leaves no row without a sender.
            await self._commit(rows, alone)
            return
        self._show(alone)
        if self._timer is None and self._position is not None:
            self._commit([])
            self._timer = asyncio.get_running_loop().call_later(POSITIONS, self._later)

    def _commit(self, rows: list[Row], alone: Sequence[Event] = ()) -> asyncio.Future[Any]:
        position = None
        if self._position is not None:
            position = self.stream, {**self._position, CLOCK: self.clock.offsets()}
        self._position = None
        return self.context.apply(self.context.lifecycle.accepted(rows, position=position, alone=alone))

    def _show(self, alone: Sequence[Event]) -> None:
        """Show events that no step takes; they are not stored."""
        if alone:
            self.context.apply(self.context.lifecycle.accepted([], alone=alone))

    def _later(self) -> None:
        """The position after lines without rows, from time to time: losing it only repeats the same events."""
        self._timer = None
        if self._position is not None:
            self._commit([])

    async def _filtered(self, program: FilterRunner, batch: Batch) -> Iterable[Located]:
        """The filter's events. Limits are those of one run: a batch beyond MAX_BATCH that fails is fed again in pieces."""
        pieces: Iterable[Batch] = [batch]
        if len(batch.data) > MAX_BATCH:
            found = await self._fed(program, batch, 1)
            if found is not None:
                return found
            log.info("%s/%s: the filter fails on a batch of %d bytes, which it gets in pieces: %s", self.pipeline.name,
                     self.step.name, len(batch.data), self.error)  # fmt: skip
            pieces = batch.pieces(MAX_BATCH)
        whole: list[Iterator[Located]] = []
        for piece in pieces:
            found = await self._fed(program, piece, self.step.attempts)
            if found is not None:
                whole.append(found)
                continue
            # A batch on which every run fails must not stop the log forever: it is counted, logged and skipped.
            self.context.journal.count(self.pipeline.name, self.step.name, "failed_batches")
            log.error("%s/%s: the filter fails on a batch of %d bytes, which is passed over: %s", self.pipeline.name,
                      self.step.name, len(piece.data), self.error)  # fmt: skip
        return chain.from_iterable(whole)

    async def _fed(self, program: FilterRunner, batch: Batch, attempts: int) -> Iterator[Located] | None:
        """The filter's events of the first run that works, of `attempts`; None if all fail. After any failure the batch is `dense`."""
        for _ in range(attempts):
            try:
                return located(await program.feed(batch.data, self.log), batch)
            except StepFailed as e:
                batch.dense, self.error, self.hint = True, _told(e), e.hint
                if e.final:
                    break
        return None

    def _rows(self, found: Located, index: int, read_at: float, age: float, point: str) -> tuple[Event, list[Row]]:
        item, (generation, offset) = found.event, found.origin
        root_at = read_at - age
        ident = event_id(generation, offset, self.pipeline.name, self.step.name, index)
        data = {k: v for k, v in item.data.items() if k != "blobs"}  # a filter has no files to give
        data |= {"sender": found.sender or self.context.node_name, "access_point": point}
        event = Event(
            id=ident, source=f"/{self.context.node_id}/{self.pipeline.name}/{self.step.name}", type=item.type, time=now(),
            subject=str(data.get("mac", ""))[:MAX_FIELD], data=data, root=ident, traceparent=traceparent(ident),
            pipeline=self.pipeline.name, step=self.step.name,
        )  # fmt: skip
        line_at = round((read_at - root_at) * 1e3, 1)
        done = boottime()
        trace = [
            Hop("line", self.context.node_name, line_at),
            Hop(
                self.step.name,
                self.context.node_name,
                round((done - root_at) * 1e3, 1),
                round((done - read_at) * 1e3, 1),
                ident,
            ),
        ]
        rows = self.context.rows
        return event, rows.rows_for(self.pipeline, event, None, self.context.mesh.live, root_at=root_at, trace=trace)
