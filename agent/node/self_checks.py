"""The health checks of this node, every few seconds."""

from __future__ import annotations

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


class SelfChecks:
    """Keeps the table of warnings, and sends the summary to the sink."""

    def __init__(
        self,
        health: HealthRegistry,
        facts: NodeFacts,
        *,
        mesh: Mesh,
        labels: SignedLabels,
        uplink: Uplink,
        docker: DockerExecutor | None,
        summary: SummarySender | None,
    ) -> None:
        """`docker` and `summary` are None where the configuration does not allow them."""
        self._health, self._facts = health, facts
        self._mesh, self._labels, self._uplink = mesh, labels, uplink
        self._docker, self._summary = docker, summary

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            self._health.update(CODES, run_checks(await self._facts.collect()))
            self.update_others()
            if self._summary is not None:
                await self._summary.send()
            if self._docker is not None and not self._docker.available:
                await self._docker.check()
            await ticks.sleep(EVERY)

    def update_others(self) -> None:
        """Update the warnings that do not come from facts: about the sink, unsigned labels and a closed mesh."""
        self._health.update({"sink.denied", "sink.unreachable"}, self._uplink.warnings())
        self._health.update({"labels.unsigned"}, self._unsigned())
        self._health.update({"mesh.closed"}, self._closed())

    def _unsigned(self) -> list[Warning]:
        if not self._labels.unsigned:
            return []
        name, labels = self._mesh.me.name, [f"{k}={v}" for k, v in self._labels.unsigned.items()]
        remedy = f"on an operator: edge-agent node label {name} {' '.join(labels)}"
        return [Warning("labels.unsigned", name, f"no operator has signed {', '.join(labels)} yet", remedy)]

    def _closed(self) -> list[Warning]:
        if not self._mesh.closed:
            return []
        remedy = "see mesh.listen and mesh.port; what runs on this node alone goes on, and the mesh is tried again"
        return [Warning("mesh.closed", "mesh", self._mesh.closed, remedy, "error")]
