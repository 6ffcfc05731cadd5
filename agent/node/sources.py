"""Source steps that should run here now: started and stopped as pipelines and labels change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from agent.clock import boottime
from agent.errors import ConfigError
from agent.model.pipeline import Pipeline, Step, TailTask
from agent.model.placement import may_run
from agent.model.task import FilterRunner
from agent.sources import Batch, Counters, LineSource, Position, open_source
from agent.steps import TailRunner

if TYPE_CHECKING:
    from agent.node.agent import Agent

log = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds between looks for what no bell tells: a pause that is over, a task that ended."""
Key = tuple[str, str, str, str]


class Unreadable:
    """Stands for a source that this node cannot have, so that `status` and the health checks say why."""

    def __init__(self, spec: str | dict[str, Any], error: ConfigError) -> None:
        self.name = spec if isinstance(spec, str) else msgspec.json.encode(spec).decode()
        self.counters = Counters()
        self.problem = error.message

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Nothing, for ever."""
        await asyncio.Event().wait()
        yield Batch("", 0, b"", None)


class SourceSteps:
    """One TailRunner for each log of each source step whose selector names this node."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.runners: dict[Key, TailRunner] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._bell = agent.bell.listen()
        self._started = boottime()

    async def run(self) -> None:
        """Keep what runs in step with what should, until cancelled."""
        try:
            while True:
                await self._adjust()
                await self._bell.wait(LOOK)
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

    def _wanted(self) -> dict[Key, tuple[Pipeline, Step, Any]]:
        labels = self.agent.mesh.me.labels
        wanted: dict[Key, tuple[Pipeline, Step, Any]] = {}
        for pipeline in self.agent.pipelines.definitions.running():
            for step in pipeline.steps:
                if step.kind == "tail" and may_run(pipeline, step, labels):
                    for spec in self._specs(step.task_of().source):
                        key = (pipeline.name, pipeline.version, step.name, msgspec.json.encode(spec).decode())
                        wanted[key] = (pipeline, step, spec)
        return wanted

    def _specs(self, source: str | dict[str, Any]) -> list[str | dict[str, Any]]:
        """`auto` is what this node's owner says it is."""
        return list(self.agent.config.sources.tail) if source == "auto" else [source]

    def _runner(self, pipeline: Pipeline, step: Step, spec: Any) -> TailRunner:
        task: TailTask = step.task_of()
        stream = f"{pipeline.name}/{step.name}/{msgspec.json.encode(spec).decode()}"
        local = not (isinstance(spec, dict) and "syslog" in spec)
        return TailRunner(
            self.agent.pipelines.context,
            pipeline,
            step,
            self._open(pipeline, step, spec),
            stream,
            self._filter(task),
            log_to=lambda line: self.agent.logs_kept.write(pipeline.name, step.name, line),
            restarted_at=self._started if self.agent.had_state else 0.0,
            local_clock=local,
        )

    def _open(self, pipeline: Pipeline, step: Step, spec: Any) -> LineSource:
        try:
            return open_source(spec, self.agent.config.state)
        except ConfigError as e:
            log.warning("%s/%s has no source here: %s", pipeline.name, step.name, e.message)
            return Unreadable(spec, e)

    def _filter(self, task: TailTask) -> Callable[[], Awaitable[FilterRunner]]:
        async def make() -> FilterRunner:
            return self.agent.wasm.filter(await self.agent.pipelines.steps.programs.module(task.wasm.module), task.wasm)

        return make
