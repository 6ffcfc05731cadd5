"""The tail steps that this node should run: started and stopped as pipelines and labels change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from agent.delivery import DeliveryEngine
from agent.errors import ConfigError
from agent.executors import Executors
from agent.mesh import Mesh
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run
from agent.model.task import FilterRunner, LogOf, WasmTask
from agent.node.change_signal import Listener
from agent.sources import Batch, Counters, LineSource, Position, open_source
from agent.steps import StepKinds, TailRunner

log = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds between looks when nothing changes: the signal is not sent at the end of a pause or of a task."""
Source = str | dict[str, Any]
"""A source as written in a pipeline or in the configuration."""
Key = tuple[str, str, str, str]
"""Pipeline, version, step and source (JSON)."""


class Unreadable:
    """Stands for a source that this node cannot open; `status` and the health checks show why."""

    def __init__(self, spec: Source, error: ConfigError) -> None:
        self.name = spec if isinstance(spec, str) else msgspec.json.encode(spec).decode()
        self.counters = Counters()
        self.problem = error.message

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Yield nothing, without end."""
        await asyncio.Event().wait()
        yield Batch("", 0, b"", None)


@dataclass(eq=False)
class TailSteps:
    """Runs one TailRunner for each log of each tail step whose selector names this node.

    `logs` are the sources that `auto` means, `log_of` gives the logs of steps. `restarted_at` is the time
    (CLOCK_BOOTTIME) of this start, 0 at the very first.
    """

    delivery: DeliveryEngine[StepKinds]
    programs: Executors
    mesh: Mesh
    changed: Listener
    _: KW_ONLY
    logs: Sequence[Source]
    log_of: LogOf
    state: Path
    restarted_at: float
    runners: dict[Key, TailRunner] = field(default_factory=dict)
    _tasks: dict[Key, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Start and stop runners as needed, until cancelled."""
        try:
            while True:
                await self._adjust()
                await self.changed.wait(LOOK)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._tasks.clear()

    async def _adjust(self) -> None:
        wanted = self._wanted()
        for key in [k for k in self._tasks if k not in wanted or self._tasks[k].done()]:
            task = self._tasks.pop(key)
            task.cancel()
            for result in await asyncio.gather(task, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("%s/%s stopped: %s", key[0], key[2], result, exc_info=result)
            self.runners.pop(key, None)
        for key, (pipeline, step, spec) in wanted.items():
            if key not in self._tasks:
                self.runners[key] = runner = self._runner(pipeline, step, spec)
                self._tasks[key] = asyncio.create_task(runner.run(), name=f"tail {key[0]}/{key[2]}")

    def _wanted(self) -> dict[Key, tuple[Pipeline, Step, Source]]:
        labels = self.mesh.me.labels
        wanted: dict[Key, tuple[Pipeline, Step, Source]] = {}
        for pipeline in self.delivery.definitions.running():
            for step in pipeline.steps:
                if step.kind == "tail" and may_run(pipeline, step, labels):
                    source: Source = step.task_of().source
                    for spec in self.logs if source == "auto" else [source]:
                        key = (pipeline.name, pipeline.version, step.name, msgspec.json.encode(spec).decode())
                        wanted[key] = (pipeline, step, spec)
        return wanted

    def _runner(self, pipeline: Pipeline, step: Step, spec: Source) -> TailRunner:
        return TailRunner(
            self.delivery.context,
            pipeline,
            step,
            self._open(pipeline, step, spec),
            f"{pipeline.name}/{step.name}/{msgspec.json.encode(spec).decode()}",
            partial(self._make_filter, step.task_of().wasm),
            log=self.log_of(pipeline.name, pipeline.version, step.name),
            restarted_at=self.restarted_at,
            local_clock=not (isinstance(spec, dict) and "syslog" in spec),
        )

    async def _make_filter(self, task: WasmTask) -> FilterRunner:
        return self.programs.filter(task, await self.delivery.steps.programs.module(task.module))

    def _open(self, pipeline: Pipeline, step: Step, spec: Source) -> LineSource:
        try:
            return open_source(spec, self.state)
        except ConfigError as e:
            log.warning("%s/%s has no source here: %s", pipeline.name, step.name, e.message)
            return Unreadable(spec, e)
