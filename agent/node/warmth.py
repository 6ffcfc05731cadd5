"""Programs made warm before their first event: a cold container or an uncompiled module would cost the first photo seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run, selector

if TYPE_CHECKING:
    from agent.node.agent import Agent

LOOK = 10.0
PROGRAMS = frozenset({"wasm", "docker", "process"})


class Warmth:
    """Starts the programs of steps that this node is likely to run."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._bell = agent.bell.listen()

    async def run(self) -> None:
        """Look for new steps when pipelines or nodes change, until cancelled."""
        while True:
            for pipeline in self.agent.pipelines.definitions.running():
                for step in pipeline.steps:
                    if step.kind in PROGRAMS and self._likely(pipeline, step):
                        self.agent.pipelines.hosts.warm((pipeline.name, pipeline.version, step.name))
            await self._bell.wait(LOOK)

    def _likely(self, pipeline: Pipeline, step: Step) -> bool:
        """This node matches, and is preferred or nobody who is here is."""
        mine = self.agent.mesh.me.labels
        if not may_run(pipeline, step, mine):
            return False
        if step.pick != "one" or not step.prefer:
            return True
        wanted = selector(step.prefer)
        live = [n for n in self.agent.mesh.live() if may_run(pipeline, step, n.labels)]
        return wanted.matches(mine) or not any(wanted.matches(n.labels) for n in live)
