"""Running steps on this node: one host for each step of each version, with its program kept warm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from agent import ticks
from agent.clock import boottime
from agent.delivery.changes import Changes
from agent.delivery.conditions import Condition, StepNow
from agent.delivery.context import Context
from agent.delivery.retry import BACKOFF
from agent.delivery.row_queue import RowQueue
from agent.delivery.rows import Row, State, hop
from agent.errors import EdgeError, Refused, StepFailed, Unreachable
from agent.model.event import BlobRef, Event, event_id, now, traceparent
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import matches
from agent.model.task import StepInput, StepOutput

log = logging.getLogger(__name__)

Made = tuple[StepOutput, tuple[Any, ...]]
"""An output, and the part of its id besides version, step, parent and index."""
Emit = Callable[[list[Made]], Awaitable[None]]
"""Sends outputs on before the step has ended: a camera's first shot need not wait for its last."""
Work = Callable[[Row, Step, Emit], Awaitable[list[Made] | None]]
"""Runs one event: its outputs (besides those emitted), or None where the row ends later (the sink)."""

StepKey = tuple[str, str, str]
"""Pipeline, version, step."""


class StepMaker(Protocol):
    """Makes what each kind of step does on this node."""

    async def make(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work and how many events it takes at once; raises Refused, Unreachable or StepFailed."""
        ...

    def note(self, key: StepKey, text: str) -> None:
        """Write a line of the agent's own into the step's log."""
        ...

    def start_failure(self, key: StepKey) -> StepFailed | None:
        """The reason why the step's program, which did start, ended before it was ready; None where it did not."""
        ...

    async def stop(self, key: StepKey) -> None:
        """Stop the program of (pipeline, version, step), if it has one."""
        ...

    async def close(self) -> None:
        """Stop every program."""
        ...


RETIRE_EVERY = 10.0


class StepHost:
    """One step on this node: a queue, and as many workers as its program takes events at once."""

    def __init__(
        self, context: Context, pipeline: Pipeline, step: Step, work: Work, width: int, condition: Condition
    ) -> None:
        self.context = context
        self.pipeline = pipeline
        self.step = step
        self.work = work
        self.width = width
        self.queue = RowQueue()
        self.running = 0
        self.condition = condition
        self._ready = asyncio.Event()
        self._queued: set[int] = set()

    def put(self, row: Row) -> None:
        """Run it soon."""
        if row.n not in self._queued:
            self._queued.add(row.n)
            self.queue.put(row)
            self._ready.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.width):
                tasks.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            while not len(self.queue):
                self._ready.clear()
                await self._ready.wait()
            row, _ = self.queue.take()
            try:
                if row.state is State.QUEUED:
                    await self._one(row)
            finally:
                self._queued.discard(row.n)
                if not self._queued:
                    self._queued = set()  # an empty set keeps the room of its largest size
                del row  # or it stays until the next one comes

    async def _one(self, row: Row) -> None:
        if boottime() >= row.deadline:
            self.context.apply(self.context.lifecycle.ended(row, "expired", "older than the step's deadline"))
            return
        self.running += 1
        self.context.lifecycle.started(row)

        async def emit(made: list[Made]) -> None:
            rows, alone = self._rows(row, made, boottime())
            await self.context.apply(self.context.lifecycle.accepted(rows, Changes(shown=alone)))

        try:
            made = await self.work(row, self.step, emit)
            self.condition.works()
            if made is not None:
                await self.finish(row, made)
        except StepFailed as e:
            self._failed(row, e)
        except (Unreachable, Refused) as e:
            self._unable(row, e)
        except EdgeError as e:
            if self.context.journal.storage.failed is not None:
                raise  # only the disk knows the end of the event
            self._failed(row, StepFailed(e.message, hint=e.hint, code=e.code))
        except Exception as e:
            log.exception("%s/%s: internal error in the agent", self.pipeline.name, self.step.name)
            self._failed(row, StepFailed(f"internal: {type(e).__name__}: {e}"))
        finally:
            self.running -= 1

    async def finish(self, row: Row, made: list[Made]) -> None:
        """Turn outputs into events and rows, in one transaction with the end of this one."""
        at = boottime()
        self.condition.recent.append(at - row.started)
        rows, alone = self._rows(row, made, at)
        if not row.open:
            log.info("%s/%s: %s ended while it ran; its outputs are dropped", row.pipeline, row.step, row.event.id)
        await self.context.apply(
            self.context.lifecycle.ran(row, rows, self.step.name, self.context.node_name, at, alone)
        )

    def _rows(self, row: Row, made: list[Made], at: float) -> tuple[list[Row], list[Event]]:
        """The rows of the outputs, and the events that no step takes, which are only shown."""
        trace = hop(row, self.step.name, self.context.node_name, at, at - row.started)
        rows: list[Row] = []
        alone: list[Event] = []
        followed = bool(self.pipeline.children(self.step.name))
        for index, (output, extra) in enumerate(made):
            if output.passes and self.step.emit and output.type not in self.step.emit:
                continue
            event = self._event(row.event, output, index, extra)
            if not (followed and output.passes):
                alone.append(event)
                continue
            rows += self.context.rows.rows_for(
                self.pipeline, event, row, self.context.mesh.live, root_at=row.root_at, trace=trace
            )
        return rows, alone

    def _event(self, parent: Event, output: StepOutput, index: int, extra: tuple[Any, ...]) -> Event:
        root = parent.root or parent.id
        data = dict(output.data)
        if output.blobs:
            data["blobs"] = [{"name": b.name, "cid": b.cid, "type": b.type, "size": b.size} for b in output.blobs]
        return Event(
            id=event_id(self.pipeline.version, self.step.name, parent.id, index, *extra),
            source=f"/{self.context.node_id}/{self.pipeline.name}/{self.step.name}",
            type=output.type, time=now(), subject=parent.subject, data=data, parent=parent.id, root=root,
            traceparent=traceparent(root), pipeline=self.pipeline.name, step=self.step.name,
        )  # fmt: skip

    # -- failures -----------------------------------------------------------------------------------------

    def _failed(self, row: Row, error: StepFailed) -> None:
        self.condition.failed(error)
        if row.state is State.QUEUED:
            log.warning(
                "%s/%s failed on %s (run %d): %s", row.pipeline, row.step, row.event.id, row.attempts + 1, error.message
            )
        self.context.apply(self.context.lifecycle.failed(row, self.step, error))

    def _unable(self, row: Row, error: EdgeError) -> None:
        """No program could run: uses no attempt; where others may run it, they get it."""
        self.condition.failed(error)
        if self.condition.failures == 1:
            log.warning("%s/%s cannot run here: %s", row.pipeline, row.step, error.message)
        if others_can_run(self.context, self.step, row):
            self.context.apply(self.context.lifecycle.passed_on(row, error.message))
        else:
            self.context.lifecycle.waits(row, error.message)
            asyncio.get_running_loop().call_later(BACKOFF.after(self.condition.failures), self.put, row)


def others_can_run(context: Context, step: Step, row: Row) -> bool:
    """Whether another live node may run the row instead of this one."""
    if row.slot or step.pick != "one":
        return False
    return any(n.id != context.node_id for n in matches(step, context.mesh.live()))


class Hosts:
    """Every step that runs here, made when its first event comes."""

    def __init__(self, context: Context, steps: StepMaker) -> None:
        self.context = context
        self._steps = steps
        self.hosts: dict[StepKey, StepHost] = {}
        self.conditions: dict[StepKey, Condition] = {}
        self._running: dict[StepKey, asyncio.Task[None]] = {}
        self._waiting: dict[StepKey, dict[int, Row]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the hosts until cancelled; those of versions that nothing needs any more are stopped."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                for key in list(self._waiting):
                    self._begin(key)
                while True:
                    await ticks.sleep(RETIRE_EVERY)
                    await self.retire()
            finally:
                self._tasks = None

    async def retire(self) -> None:
        """Stop the programs of replaced and removed versions of which no event is in flight here."""
        while (key := self._not_needed()) is not None:
            log.info("%s/%s: stopping the program of version %s: nothing needs it any more", key[0], key[2], key[1])
            del self.hosts[key], self.conditions[key]
            self._running.pop(key).cancel()
            await self._steps.stop(key)

    def _not_needed(self) -> StepKey | None:
        """One program without work or None. Look again after each stop: an event may arrive for the next program meanwhile."""
        old = [
            key for key, host in self.hosts.items() if not self._current(key) and not (len(host.queue) or host.running)
        ]
        busy = {(r.pipeline, r.version) for r in self.context.journal.open_rows()} if old else set()
        return next((key for key in old if key[:2] not in busy), None)

    def _current(self, key: StepKey) -> bool:
        now_ = self.context.definitions.current.get(key[0])
        return now_ is not None and now_.version == key[1]

    def _begin(self, key: StepKey) -> None:
        if self._tasks is not None:
            self._running[key] = self._tasks.create_task(self._start(key))

    def warm(self, key: StepKey) -> None:
        """Start the step's program before its first event."""
        if key not in self.hosts and key not in self._waiting:
            self._waiting[key] = {}
            self._begin(key)

    def enqueue(self, row: Row) -> None:
        """Give the row to its step's host."""
        key = (row.pipeline, row.version, row.step)
        if (host := self.hosts.get(key)) is not None:
            host.put(row)
            return
        first = key not in self._waiting
        self._waiting.setdefault(key, {})[row.n] = row
        if first:
            self._begin(key)

    async def _start(self, key: StepKey) -> None:
        condition = self.conditions[key] = Condition()
        while True:
            found = self.context.definitions.step(*key)
            try:
                if found is None:
                    raise Unreachable(f"{key[0]} {key[1]} is not known here yet")
                work, width = await self._steps.make(*found)
            except EdgeError as e:
                error = e
            except Exception as e:
                log.exception("%s/%s: internal error in the agent", key[0], key[2])
                error = StepFailed(f"internal: {type(e).__name__}: {e}")
            else:
                break
            if error.message != condition.error:
                log.warning("%s/%s cannot start here: %s", key[0], key[2], error)
                self._steps.note(key, f"cannot start here, will be tried again: {error}")
            condition.failed(error, "not-started")
            self._not_started(key, error)
            if not self._waiting[key] and not self._current(key):
                del self._waiting[key], self._running[key], self.conditions[key]
                return
            await asyncio.sleep(BACKOFF.after(condition.failures))
        condition.works()
        host = StepHost(self.context, *found, work, width, condition)
        self.hosts[key] = host
        for row in self._waiting.pop(key, {}).values():
            host.put(row)
        await host.run()

    def _not_started(self, key: StepKey, error: EdgeError) -> None:
        """Rows that others may run go to them; those that are too old end; the rest waits for the next try."""
        found = self.context.definitions.step(*key)
        now_ = boottime()
        rows, self._waiting[key] = self._waiting[key], {}
        for row in rows.values():
            if row.state is not State.QUEUED:
                continue
            if row.deadline <= now_:
                self.context.apply(
                    self.context.lifecycle.ended(row, "expired", "the step could not be started in time")
                )
            elif found is not None and others_can_run(self.context, found[1], row):
                self.context.apply(self.context.lifecycle.passed_on(row, error.message))
            else:
                self.context.lifecycle.waits(row, error.message)
                self._waiting[key][row.n] = row

    def now(self, pipeline: str, step: str) -> StepNow:
        """The step's state here, its queue, runs under way, mean time and last error; the current version's state comes first."""
        mine = {k: c for k, c in self.conditions.items() if (k[0], k[2]) == (pipeline, step)}
        hosts = [self.hosts[k] for k in mine if k in self.hosts]
        queued = sum(len(h.queue) for h in hosts) + sum(len(self._waiting.get(k, ())) for k in mine)
        told = max(mine, key=lambda k: (self._current(k), mine[k].failures), default=None)
        if told is None:
            return StepNow("idle")
        recent = [t for c in mine.values() for t in c.recent]
        it = mine[told]
        if it.state == "ready" and (error := self._steps.start_failure(told)) is not None:
            it = Condition("failing", error.message, error.hint, 1, error.code)
        return StepNow(
            it.state, it.error, it.hint, it.failures, sum(h.running for h in hosts), queued,
            round(sum(recent) / len(recent) * 1e3, 1) if recent else None,
            round(max((h.queue.lag() for h in hosts), default=0.0), 1), it.code,
        )  # fmt: skip


def blob_refs(event: Event, path: Callable[[str], str]) -> list[BlobRef]:
    """The event's blobs with the paths of their verified files here."""
    return [BlobRef(b.name, b.cid, b.type, b.size, path(b.cid)) for b in event.blobs()]


def step_input(event: Event, path: Callable[[str], str]) -> StepInput:
    """The event as a program gets it."""
    return StepInput(event, blob_refs(event, path))
