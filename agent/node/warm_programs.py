"""Programs that are started before their first event: a cold container or an uncompiled module costs seconds."""

from __future__ import annotations

from agent.delivery import DeliveryEngine
from agent.errors import Refused
from agent.mesh import Mesh
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run, selector
from agent.node.change_signal import Listener
from agent.steps import NodeSteps

LOOK = 10.0
"""Seconds between looks when nothing changes."""


class WarmPrograms:
    """Starts the programs of steps that this node is likely to run."""

    def __init__(self, delivery: DeliveryEngine[NodeSteps], mesh: Mesh, changed: Listener) -> None:
        self._delivery = delivery
        self._mesh = mesh
        self._changed = changed

    async def run(self) -> None:
        """Look for new steps when pipelines or nodes change, until cancelled."""
        while True:
            for pipeline in self._delivery.definitions.running():
                for step in pipeline.steps:
                    kind = self._delivery.definitions.kinds.of(step)
                    if kind.programs and not kind.is_source and self._likely(pipeline, step):
                        self._delivery.hosts.warm((pipeline.name, pipeline.version, step.name))
            await self._changed.wait(LOOK)

    def _likely(self, pipeline: Pipeline, step: Step) -> bool:
        """True if this node matches and allows the step, and it is preferred or no live match is."""
        mine = self._mesh.me.labels
        if not may_run(pipeline, step, mine):
            return False
        try:
            self._delivery.steps.check(step)
        except Refused:
            return False
        if step.pick != "one" or not step.prefer:
            return True
        wanted = selector(step.prefer)
        live = [n for n in self._mesh.live() if may_run(pipeline, step, n.labels)]
        return wanted.matches(mine) or not any(wanted.matches(n.labels) for n in live)
