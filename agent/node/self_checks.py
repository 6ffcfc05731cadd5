"""The health checks of this node, every few seconds."""

from __future__ import annotations

import time
from dataclasses import KW_ONLY, dataclass, field

from agent import ticks
from agent.executors import DockerExecutor
from agent.health import CODES, HealthRegistry, run_checks
from agent.mesh import Mesh
from agent.model.health import Warning
from agent.node.node_facts import NodeFacts
from agent.node.signed_labels import SignedLabels
from agent.node.status_summary import SummarySender
from agent.uplink import Uplink

EVERY = 5.0
SETTLE = 30.0
"""Seconds after the start in which a warning that other nodes can end by themselves waits: they link and answer within these."""
BY_OTHERS = frozenset({"step.no-node", "sink.missing"})
"""Codes that may only mean that a node of the previous run is not linked yet."""


@dataclass(frozen=True)
class SelfChecks:
    """Keeps the table of warnings, and sends the summary to the sink.

    `docker` and `summary` are None where the configuration does not allow them.
    """

    health: HealthRegistry
    facts: NodeFacts
    _: KW_ONLY
    mesh: Mesh
    labels: SignedLabels
    uplink: Uplink
    docker: DockerExecutor | None
    summary: SummarySender | None
    begun: float = field(default_factory=time.monotonic)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            self.health.update(CODES, self.lasting(run_checks(await self.facts.collect())))
            self.update_others()
            if self.summary is not None:
                await self.summary.send()
            if self.docker is not None and not self.docker.available:
                await self.docker.check()
            await ticks.sleep(EVERY)

    def lasting(self, warnings: list[Warning]) -> list[Warning]:
        """The warnings without those that may end by themselves, just after the start."""
        if self._up() >= SETTLE or not self.mesh.awaited():
            return warnings
        return [w for w in warnings if w.code not in BY_OTHERS]

    def _up(self) -> float:
        return time.monotonic() - self.begun

    def update_others(self) -> None:
        """Update the warnings that do not come from facts: about the sink, unsigned labels and a closed mesh."""
        self.health.update({"sink.denied", "sink.unreachable"}, self.uplink.warnings())
        self.health.update({"labels.unsigned"}, self._unsigned())
        self.health.update({"mesh.closed"}, self._closed())

    def _unsigned(self) -> list[Warning]:
        # An operator signs most labels within seconds by itself.
        if not self.labels.unsigned or self._up() < SETTLE:
            return []
        name, labels = self.mesh.me.name, [f"{k}={v}" for k, v in self.labels.unsigned.items()]
        remedy = f"on an operator: edge-agent node label {name} {' '.join(labels)}"
        return [Warning("labels.unsigned", name, f"no operator has signed {', '.join(labels)} yet", remedy)]

    def _closed(self) -> list[Warning]:
        if not self.mesh.closed:
            return []
        remedy = "see mesh.listen and mesh.port; what runs on this node alone goes on, and the mesh is tried again"
        return [Warning("mesh.closed", "mesh", self.mesh.closed, remedy, "error")]
