"""Looking after the node: facts, checks, the status summary for the sink."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import TYPE_CHECKING

from agent import ticks
from agent.errors import EdgeError
from agent.health import clock_synchronised
from agent.health.checks import CODES, run_checks
from agent.health.facts import Facts, FailingStep, SourceFact
from agent.model.alert import StatusSummary
from agent.model.event import now
from agent.model.health import Warning
from agent.model.placement import steps_without_node

if TYPE_CHECKING:
    from agent.node.agent import Agent

log = logging.getLogger(__name__)

EVERY = 5.0
NO_GPU = "detector: warning no-gpu"
READY = "detector: ready"
"""How the detector's worker begins these lines (detector/README.md)."""


class Watch:
    """Runs the checks every few seconds and tells the sink when something changes."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._told: tuple[float, object] = (0.0, None)
        self._without_gpu: set[tuple[str, str]] = set()
        agent.logs_kept.on_line = self._line

    def _line(self, pipeline: str, step: str, line: str) -> None:
        """A detector says on stderr which provider it uses; that it wanted another one is worth a warning."""
        if line.startswith(READY):
            self._without_gpu.discard((pipeline, step))
        found = self.agent.pipelines.definitions.current.get(pipeline)
        wanted = found.step(step) if found else None
        asked = wanted is not None and wanted.kind == "docker" and wanted.task.get("gpus", 0) > 0
        if line.startswith(NO_GPU) or (asked and line.startswith(READY) and "provider=cuda" not in line):
            self._without_gpu.add((pipeline, step))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.agent.health.update(CODES, run_checks(await self.facts()))
            self._own()
            await self._tell_sink()
            if self.agent.config.policy.docker and not self.agent.docker.available:
                await self.agent.docker.check()
            await ticks.sleep(EVERY)

    async def facts(self) -> Facts:
        """What the checks look at. Only what waits for the disk is asked for in a thread: the rest changes with the loop."""
        a = self.agent
        disk, synchronised, uplink = await asyncio.to_thread(
            lambda: (shutil.disk_usage(a.config.state), clock_synchronised(), a.uplink.state())
        )
        current = a.pipelines.definitions.current.values()
        kinds = {s.kind for p in current for s in p.steps}
        mine, live = a.mesh.me.labels, a.mesh.live()
        return Facts(
            node=a.identity.name,
            state=str(a.config.state),
            disk_free=disk.free,
            disk_total=disk.total,
            operators=sum(n.role == "operator" for n in a.mesh.known()),
            certificate_days=(a.identity.not_after - time.time()) / 86400,
            nodes=len(a.mesh.known()),
            sink_wanted="sink" in kinds,
            sink_connected=self._sink(),
            sink_error=uplink["last_error"],
            clock_synchronised=synchronised,
            cameras=a.cameras.infos(),
            failing=[
                FailingStep(h.pipeline.name, h.step.name, h.failures, h.error)
                for h in a.pipelines.hosts.hosts.values()
                if h.failures >= 3
            ],
            sources=[
                SourceFact(f"{k[2]} {r.source.name}", not (r.error or r.source.problem), r.error or r.source.problem,
                           r.source.counters.unread)
                for k, r in a.sources.runners.items()
            ],
            gpu_wanted=bool(self._without_gpu),
            gpu_used=False if self._without_gpu else None,
            docker_wanted=any(s.kind == "docker" for p in current for s in p.steps) and mine.get("docker") == "true",
            docker_available=a.docker.available,
            queue_open=a.journal.open_count,
            queue_max=a.journal.max_open,
            blobs_bytes=a.blobs.stored,
            blobs_quota=a.blobs.quota,
            pending=len(a.desk.pending.list()) + len(a.labels.wishes) if a.desk else 0,
            steps_without_node=[note for p in current for note in steps_without_node(p, live)],
        )  # fmt: skip

    def _sink(self) -> bool | None:
        if self.agent.uplink.configured:
            return self.agent.uplink.connected
        return True if any(n.labels.get("uplink") == "true" for n in self.agent.mesh.known()) else None

    def _own(self) -> None:
        """Warnings that come from what only the service sees."""
        a = self.agent
        a.health.update({"sink.denied", "sink.unreachable"}, a.uplink.warnings())
        unsigned = ", ".join(f"{k}={v}" for k, v in a.labels.unsigned.items())
        remedy = f"on an operator: edge-agent node label {a.identity.name} {unsigned.replace(', ', ' ')}"
        warnings = [Warning("labels.unsigned", a.identity.name, f"no operator has signed {unsigned} yet", remedy)]
        a.health.update({"labels.unsigned"}, warnings if unsigned else [])
        remedy = "see mesh.listen and mesh.port; what runs on this node alone goes on, and the mesh is tried again"
        closed = [Warning("mesh.closed", "mesh", a.mesh.closed, remedy, "error")]
        a.health.update({"mesh.closed"}, closed if a.mesh.closed else [])

    async def _tell_sink(self) -> None:
        a = self.agent
        if not (a.config.uplink.status and a.uplink.configured):
            return
        nodes = [
            {"name": n.name, "alive": "yes" if a.mesh.is_live(n.id) else "no", "version": n.version}
            for n in a.mesh.known()
        ]
        warnings = a.health.list()
        state = (nodes, [(w.code, w.subject) for w in warnings])
        at, told = self._told
        if state == told and time.monotonic() - at < a.config.uplink.status_every:
            return
        self._told = (time.monotonic(), state)
        try:
            await a.uplink.send_status(
                StatusSummary(mesh=a.identity.mesh_id, node=a.identity.name, time=now(), nodes=nodes, warnings=warnings)
            )
        except EdgeError as e:
            log.debug("the summary was not sent: %s", e)
