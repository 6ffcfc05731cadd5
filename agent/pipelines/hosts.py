"""Running steps on this node: one host for each step of each version, with its program kept warm."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from agent.errors import EdgeError, Refused, StepFailed, Unreachable
from agent.model.event import BlobRef, Event, event_id, now, traceparent
from agent.model.pipeline import Pipeline, Step
from agent.model.task import StepInput, StepOutput
from agent.pipelines.clock import boottime
from agent.pipelines.core import Core
from agent.pipelines.rows import Row, State

log = logging.getLogger(__name__)

Made = tuple[StepOutput, tuple[Any, ...]]
"""An output, and what its id is made of besides version, step, parent and index."""
Emit = Callable[[list[Made]], Awaitable[None]]
"""Sends outputs on before the step has ended: a camera's first shot need not wait for its last."""
Work = Callable[[Row, Step, Emit], Awaitable[list[Made] | None]]
"""Runs one event: its outputs (besides those emitted), or None where the row ends later (the sink)."""
BACKOFF = (0.2, 1.0, 5.0, 15.0)
"""Seconds before a program that could not be started or reached is tried again here."""
RUNS_KEPT = 32


class StepHost:
    """One step on this node: a queue, and as many workers as its program takes events at once."""

    def __init__(self, core: Core, pipeline: Pipeline, step: Step, work: Work, width: int) -> None:
        self.core = core
        self.pipeline = pipeline
        self.step = step
        self.work = work
        self.width = width
        self.queue: deque[Row] = deque()
        self.running = 0
        self.recent: deque[float] = deque(maxlen=RUNS_KEPT)
        self.error = ""
        self.failures = 0
        self._ready = asyncio.Event()
        self._queued: set[int] = set()

    def put(self, row: Row) -> None:
        """Run it soon."""
        if row.n not in self._queued:
            self._queued.add(row.n)
            self.queue.append(row)
            self._ready.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.width):
                tasks.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            while not self.queue:
                self._ready.clear()
                await self._ready.wait()
            row = self.queue.popleft()
            try:
                if row.state is State.QUEUED:
                    await self._one(row)
            finally:
                self._queued.discard(row.n)

    async def _one(self, row: Row) -> None:
        if boottime() >= row.deadline:
            self.core.end(row, "expired", "older than the step's deadline")
            return
        self.running += 1
        row.started = boottime()

        async def emit(made: list[Made]) -> None:
            rows = self._rows(row, made, boottime())
            await self.core.journal.commit(add=rows)
            self.core.take(rows)

        try:
            made = await self.work(row, self.step, emit)
        except StepFailed as e:
            self._failed(row, e)
        except (Unreachable, Refused) as e:
            self._unable(row, e)
        except EdgeError as e:
            self._failed(row, StepFailed(e.message, hint=e.hint, code=e.code))
        except Exception as e:
            log.exception("%s/%s: a fault of the agent itself", self.pipeline.name, self.step.name)
            self._failed(row, StepFailed(f"internal: {type(e).__name__}: {e}"))
        else:
            self.failures = 0
            if made is not None:
                await self.finish(row, made)
        finally:
            self.running -= 1

    async def finish(self, row: Row, made: list[Made]) -> None:
        """Turn outputs into events and rows, in one transaction with the end of this one."""
        at = boottime()
        self.recent.append(at - row.started)
        rows = self._rows(row, made, at)
        row.trace = row.hop(self.step.name, self.core.node_name, at, at - row.started)
        await self.core.ran(row, rows)

    def _rows(self, row: Row, made: list[Made], at: float) -> list[Row]:
        trace = row.hop(self.step.name, self.core.node_name, at, at - row.started)
        rows: list[Row] = []
        for index, (output, extra) in enumerate(made):
            if self.step.emit and output.type not in self.step.emit:
                continue
            event = self._event(row.event, output, index, extra)
            rows += self.core.rows_for(self.pipeline, event, row, root_at=row.root_at, trace=trace)
        return rows

    def _event(self, parent: Event, output: StepOutput, index: int, extra: tuple[Any, ...]) -> Event:
        root = parent.root or parent.id
        data = dict(output.data)
        if output.blobs:
            data["blobs"] = [{"name": b.name, "cid": b.cid, "type": b.type, "size": b.size} for b in output.blobs]
        return Event(
            id=event_id(self.pipeline.version, self.step.name, parent.id, index, *extra),
            source=f"/{self.core.node_id}/{self.pipeline.name}/{self.step.name}",
            type=output.type, time=now(), subject=parent.subject, data=data, parent=parent.id, root=root,
            traceparent=traceparent(root), pipeline=self.pipeline.name, step=self.step.name,
        )  # fmt: skip

    # -- when it does not work ----------------------------------------------------------------------------------------

    def _failed(self, row: Row, error: StepFailed) -> None:
        self.error, self.failures = error.message, self.failures + 1
        row.final = error.final
        row.attempts += 1
        log.warning(
            "%s/%s failed on %s (run %d): %s", row.pipeline, row.step, row.event.id, row.attempts, error.message
        )
        if error.final or row.attempts >= self.step.attempts:
            row.final = True
            self.core.end(row, "failed", error.message)
        elif row.claims and not row.slot and self.step.pick == "one":
            # The producer counts this run and chooses the next node, which may be this one again.
            row.attempts -= 1
            self.core.end(row, "failed", error.message)
        else:
            row.reason = error.message[:500]
            row.avoid.append(self.core.node_id)
            row.state = State.QUEUED if row.claims or row.slot or self.step.pick == "here" else State.WAITING
            self.core.journal.commit(change=[row])
            self._again(row, BACKOFF[0])

    def _unable(self, row: Row, error: EdgeError) -> None:
        """No program could run: uses no attempt; where others may run it, they get it."""
        self.error, self.failures = error.message, self.failures + 1
        if self.failures == 1:
            log.warning("%s/%s cannot run here: %s", row.pipeline, row.step, error.message)
        if row.claims and not row.slot and self.step.pick == "one":
            row.free = True
            self.core.end(row, "failed", error.message)
            return
        if not row.claims and not row.slot and self.step.pick == "one":
            row.avoid.append(self.core.node_id)
            row.state = State.WAITING
        self._again(row, BACKOFF[min(self.failures, len(BACKOFF)) - 1])

    def _again(self, row: Row, seconds: float) -> None:
        def act() -> None:
            if row.state is State.QUEUED:
                self.put(row)
            elif row.state is State.WAITING:
                self.core.route(row)

        asyncio.get_running_loop().call_later(seconds, act)


class Hosts:
    """Every step that runs here, made when its first event comes."""

    def __init__(self, core: Core, make: Callable[[Pipeline, Step], Awaitable[tuple[Work, int]]]) -> None:
        self.core = core
        self.make = make
        self.hosts: dict[tuple[str, str, str], StepHost] = {}
        self._waiting: dict[tuple[str, str, str], list[Row]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        core.enqueue = self.enqueue

    async def run(self) -> None:
        """Own the hosts until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                for key in list(self._waiting):
                    tasks.create_task(self._start(key))
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def warm(self, key: tuple[str, str, str]) -> None:
        """Start the step's program before its first event."""
        if key not in self.hosts and key not in self._waiting:
            self._waiting[key] = []
            if self._tasks is not None:
                self._tasks.create_task(self._start(key))

    def enqueue(self, row: Row) -> None:
        """Give the row to its step's host."""
        key = (row.pipeline, row.version, row.step)
        if (host := self.hosts.get(key)) is not None:
            host.put(row)
            return
        first = key not in self._waiting
        self._waiting.setdefault(key, []).append(row)
        if first and self._tasks is not None:
            self._tasks.create_task(self._start(key))

    async def _start(self, key: tuple[str, str, str]) -> None:
        attempt = 0
        while True:
            rows = self._waiting.get(key, [])
            found = self.core.definitions.step(*key)
            try:
                if found is None:
                    raise Unreachable(f"{key[0]} {key[1]} is not known here yet")
                work, width = await self.make(*found)
            except EdgeError as e:
                if attempt == 0:
                    log.warning("%s/%s cannot start here: %s", key[0], key[2], e)
                self._give_up_old(rows)
                await asyncio.sleep(BACKOFF[min(attempt, len(BACKOFF) - 1)])
                attempt += 1
                continue
            host = StepHost(self.core, *found, work, width)
            self.hosts[key] = host
            for row in self._waiting.pop(key, []):
                host.put(row)
            await host.run()

    def _give_up_old(self, rows: list[Row]) -> None:
        now_ = boottime()
        for row in [r for r in rows if r.deadline <= now_]:
            rows.remove(row)
            self.core.end(row, "expired", "the step could not be started in time")

    def describe(self, pipeline: str, step: str) -> dict[str, Any]:
        """Queue, runs under way, mean time and last error of a step here."""
        mine = [h for (p, _, s), h in self.hosts.items() if (p, s) == (pipeline, step)]
        recent = [t for h in mine for t in h.recent]
        made: dict[str, Any] = {"running": sum(h.running for h in mine), "queued": sum(len(h.queue) for h in mine)}
        if recent:
            made["run_ms"] = round(sum(recent) / len(recent) * 1e3, 1)
        if error := next((h.error for h in mine if h.failures), ""):
            made["error"] = error
        return made


def blob_refs(event: Event, path: Callable[[str], str]) -> list[BlobRef]:
    """The event's blobs with the paths of their verified files here."""
    return [BlobRef(b.name, b.cid, b.type, b.size, path(b.cid)) for b in event.blobs()]


def step_input(event: Event, path: Callable[[str], str]) -> StepInput:
    """What a program gets for this event."""
    return StepInput(event, blob_refs(event, path))
