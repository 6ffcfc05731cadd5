"""The sources that this node should run: started and stopped as pipelines and labels change."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from agent.delivery import DeliveryEngine
from agent.errors import EdgeError
from agent.mesh import Mesh
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run
from agent.node.change_signal import Listener
from agent.sources import SenderCount
from agent.steps import NodeSteps, SourceCounts, SourceKind, SourceRunner

log = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds between looks when nothing changes: the signal is not sent at the end of a pause or of a task."""
AGAIN = 30.0
"""Seconds after which a source that cannot run is tried again."""
Key = tuple[str, str, str, str]
"""Pipeline, version, step and source."""


class UnusableSource:
    """A SourceRunner for a source that cannot run here; `status` and the health checks show why."""

    def __init__(self, name: str, problem: str, hint: str = "") -> None:
        self.name = name
        self.problem, self.hint = problem, hint

    def counts(self) -> SourceCounts:
        """Nothing."""
        return SourceCounts()

    def senders(self) -> list[SenderCount]:
        """None: it hears nothing."""
        return []

    async def run(self) -> None:
        """Make no events; ends after AGAIN, so that the source is tried again: its log may be there by then."""
        await asyncio.sleep(AGAIN)


@dataclass(eq=False)
class SourceSteps:
    """Runs the sources of each step that makes events and whose selector names this node."""

    delivery: DeliveryEngine[NodeSteps]
    mesh: Mesh
    changed: Listener
    runners: dict[Key, SourceRunner] = field(default_factory=dict)
    _tasks: dict[Key, asyncio.Task[None]] = field(default_factory=dict)
    _told: dict[Key, str] = field(default_factory=dict)
    """Why sources cannot run, as logged: each reason is logged once."""

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
            self.runners.clear()

    async def _adjust(self) -> None:
        wanted = self._wanted()
        for key in [k for k in self._tasks if k not in wanted or self._tasks[k].done()]:
            task = self._tasks.pop(key)
            task.cancel()
            for result in await asyncio.gather(task, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("%s/%s stopped: %s", key[0], key[2], result, exc_info=result)
            if key not in wanted:
                self.runners.pop(key, None)
                self._told.pop(key, None)
        for key, (kind, pipeline, step) in wanted.items():
            if key not in self._tasks:
                self.runners[key] = runner = self._runner(kind, pipeline, step, key)
                self._tasks[key] = asyncio.create_task(runner.run(), name=f"{step.kind} {key[0]}/{key[2]}")

    def _wanted(self) -> dict[Key, tuple[SourceKind, Pipeline, Step]]:
        steps, labels = self.delivery.steps, self.mesh.me.labels
        wanted: dict[Key, tuple[SourceKind, Pipeline, Step]] = {}
        for pipeline in self.delivery.definitions.running():
            for step in pipeline.steps:
                if (kind := steps.source_kind(step)) and may_run(pipeline, step, labels):
                    for source in self._sources(kind, pipeline, step):
                        wanted[pipeline.name, pipeline.version, step.name, source] = (kind, pipeline, step)
        return wanted

    def _sources(self, kind: SourceKind, pipeline: Pipeline, step: Step) -> list[str]:
        try:
            return kind.sources(self.delivery.steps.parts, step)
        except Exception:
            log.exception("%s/%s: its sources cannot be named", pipeline.name, step.name)
            return [""]  # its runner meets the same error and shows it

    def _runner(self, kind: SourceKind, pipeline: Pipeline, step: Step, key: Key) -> SourceRunner:
        """The source's runner; a source that cannot run must not stop the others."""
        source = key[3]
        try:
            self.delivery.steps.check(step)
            return kind.runner(self.delivery.steps.parts, pipeline, step, source)
        except EdgeError as e:
            if self._told.get(key) != e.message:
                log.warning("%s/%s has no source here: %s; it is tried again", pipeline.name, step.name, e)
            self._told[key] = e.message
            return UnusableSource(source.strip('"'), e.message, e.hint)
        except Exception as e:
            problem = f"internal: {type(e).__name__}: {e}"
            if self._told.get(key) != problem:
                log.exception("%s/%s: internal error in the agent", pipeline.name, step.name)
            self._told[key] = problem
            return UnusableSource(source.strip('"'), problem)
