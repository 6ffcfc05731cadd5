"""A kind of source that the agent does not have: an event at every tick."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, ClassVar

from agent.clock import boottime
from agent.errors import ConfigError
from agent.model.event import Event, event_id, now
from agent.model.keys import duration
from agent.model.pipeline import Pipeline, Step
from agent.model.task import Task
from agent.sources import SenderCount
from agent.steps import Parts, SourceCounts, SourceKind


class TickerTask(Task, frozen=True, omit_defaults=True, kw_only=True):
    """An event every so often."""

    policy: ClassVar[str] = "process"
    every: Annotated[float, duration("time between two ticks", "1s", ge=0.01)]


@dataclass
class TickerRunner:
    """One ticker."""

    parts: Parts
    pipeline: Pipeline
    step: Step
    name: str
    problem: str = ""
    hint: str = ""
    ticks: int = 0

    def counts(self) -> SourceCounts:
        """See SourceRunner."""
        return SourceCounts(events=self.ticks)

    def senders(self) -> list[SenderCount]:
        """See SourceRunner."""
        return []

    async def run(self) -> None:
        """See SourceRunner."""
        context = self.parts.context
        while True:
            await asyncio.sleep(self.step.task_as(TickerTask).every)
            self.ticks += 1
            ident = event_id(context.node_id, self.name, self.ticks, boottime())
            event = Event(
                id=ident, source=f"/{context.node_id}/{self.pipeline.name}/{self.step.name}", type="tick", time=now(),
                data={"tick": self.ticks}, root=ident, pipeline=self.pipeline.name, step=self.step.name,
            )  # fmt: skip
            rows = context.rows.rows_for(self.pipeline, event, None, context.mesh.live, root_at=boottime(), trace=[])
            await context.apply(context.lifecycle.accepted(rows))


class Ticker(SourceKind):
    """Ticks."""

    name = "ticker"
    task = TickerTask
    about = duration("tick so often", "1s", ge=0.01)
    value = "every"

    def sources(self, parts: Parts, step: Step) -> list[str]:
        """See SourceKind."""
        if step.name == "unnamed":
            raise RuntimeError("a mistake in a kind")
        return ["left", "right"]

    def runner(self, parts: Parts, pipeline: Pipeline, step: Step, source: str) -> TickerRunner:
        """See SourceKind."""
        if step.name == "broken":
            raise ConfigError("this node has no clock", hint="give it one")
        if step.name in ("faulty", "unnamed"):
            raise RuntimeError("a mistake in a kind")
        return TickerRunner(parts, pipeline, step, source)


KINDS = (Ticker(),)
