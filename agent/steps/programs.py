"""The programs of steps on this node: a WASM module, a container or a local executable, for each step that needs one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent.delivery import Context, Emit, Made, Row, StepKey, Work, step_input
from agent.errors import BlobError, EdgeError, StepFailed, Unreachable
from agent.model.event import Event
from agent.model.pipeline import Pipeline, Step, program_name
from agent.model.task import DockerTask, FilterRunner, LogOf, ProgramTask, Runner, StepInput, StepLog, WasmTask

if TYPE_CHECKING:
    from agent.executors import Executors

log = logging.getLogger(__name__)

FETCH_TIMEOUT = 60.0
"""Seconds in which a module must come from another node."""


@dataclass(eq=False)
class StepPrograms:
    """Opens the programs of steps and closes them.

    `path_of` gives the file of a blob that is here; `log_of` the log of (pipeline, version, step). `image_ready` returns when the
    image of a container is on this node, and raises EdgeError until then.
    """

    context: Context
    executors: Executors
    path_of: Callable[[str], Path]
    log_of: LogOf
    image_ready: Callable[[DockerTask], Awaitable[None]] | None = None
    _runners: dict[StepKey, list[Runner]] = field(default_factory=dict)
    _starting: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self, pipeline: Pipeline, step: Step, task: ProgramTask) -> tuple[Work, int]:
        """Start a program that answers the step's events; raises Refused, Unreachable or StepFailed."""
        runner = await self.start(pipeline, step, task)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            return [(output, ()) for output in await runner.run(self.input(row.event))]

        return work, max(1, runner.in_flight)

    async def start(self, pipeline: Pipeline, step: Step, task: ProgramTask) -> Runner:
        """Start the program of a step, which stops with the step; raises Refused, Unreachable or StepFailed."""
        key = (pipeline.name, pipeline.version, step.name)
        runner = await self.runner(task, program_name(pipeline.name, step.name), self.log_of(*key))
        try:
            if isinstance(task, DockerTask) and self.image_ready is not None:
                await self.image_ready(task)
            await runner.start()
        except BaseException:
            await runner.close()
            raise
        self._runners.setdefault(key, []).append(runner)
        return runner

    async def runner(self, task: ProgramTask, name: str, log: StepLog) -> Runner:
        """A runner of the program, not yet started; raises Refused or Unreachable. `name` labels a container."""
        module = await self.module(task.module) if isinstance(task, WasmTask) else None
        return self.executors.runner(task, name, log, module)

    def input(self, event: Event) -> StepInput:
        """The event for a program; raises StepFailed where a blob of it is not here."""
        try:
            return step_input(event, lambda cid: str(self.path_of(cid)))
        except BlobError as e:
            raise StepFailed(f"a blob of the event is not here: {e.message}") from None

    async def filter(self, task: WasmTask) -> FilterRunner:
        """A source filter over the task's module; raises Refused or Unreachable."""
        return self.executors.filter(task, await self.module(task.module))

    async def module(self, cid: str) -> Path:
        """The module's file, fetched from another node where it is not here; raises Unreachable."""
        if not self.context.blobs.has(cid):
            holders = [n.id for n in self.context.mesh.live() if n.id != self.context.node_id]
            try:
                await self.context.fetch(cid, holders, FETCH_TIMEOUT, None)
            except BlobError as e:
                raise Unreachable(
                    f"no node that is here has module {cid}: {e.message}", hint="apply the pipeline again"
                ) from None
        return self.path_of(cid)

    def start_next(self, pipeline: Pipeline, step: Step) -> None:
        """Start the WASM programs of the next steps before this step's output comes: an idle program may have ended."""
        for after in pipeline.children(step.name):
            if self.context.definitions.kinds.of(after).task is WasmTask:
                for runner in self._runners.get((pipeline.name, pipeline.version, after.name), ()):
                    task = asyncio.create_task(_start(runner), name=f"start {pipeline.name}/{after.name}")
                    self._starting.add(task)
                    task.add_done_callback(self._starting.discard)

    def start_failure(self, key: StepKey) -> StepFailed | None:
        """See StepMaker."""
        return next((e for r in self._runners.get(key, ()) if (e := r.start_failure) is not None), None)

    async def stop(self, key: StepKey) -> None:
        """Stop the programs of (pipeline, version, step); an error is only logged."""
        for runner in self._runners.pop(key, ()):
            try:
                await runner.close()
            except Exception:
                log.exception("%s/%s: the program could not be stopped", key[0], key[2])

    async def close(self) -> None:
        """Stop every program."""
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(self.stop(key) for key in list(self._runners)))


async def _start(runner: Runner) -> None:
    try:
        await runner.start()
    except (EdgeError, OSError) as e:
        log.debug("the next step is not ready: %s", e)  # its first event meets the same error, and reports it
