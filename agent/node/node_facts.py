"""The facts about this node that the health checks look at."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.blobs import BlobStore
from agent.cameras import CameraBook
from agent.delivery import DeliveryEngine
from agent.executors import DockerExecutor
from agent.health import Facts, FailingStep, Gone, LearningFact, SourceFact, clock_synchronised
from agent.identity import AdmissionDesk, Identity
from agent.mesh import Mesh
from agent.model.node import ROLE_OPERATOR, NodeRecord
from agent.model.placement import steps_without_node
from agent.model.task import DockerTask
from agent.node.gpu_use import GpuUse
from agent.node.image_fetches import ON_ITS_WAY, ImageFetches
from agent.node.signed_labels import SignedLabels
from agent.node.source_steps import Key
from agent.sources import SenderCount
from agent.steps import NodeSteps, SourceCounts, SourceRunner
from agent.uplink import Uplink

EXPECTED = ("not allowed", "empty")
"""Reasons to drop a message that are no loss of lines: an unknown sender, which another fault names, and no text."""
UNHEARD, MOST_UNHEARD = 2000, 8
"""Lines of one sender without any event that are a fault, and most such senders of one source that are named."""
RECENT = 86400.0
"""Seconds for which a sender that is not allowed is a fault after its last message."""


class Absences:
    """How long things have been gone, by this node's monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[str, dict[str, float]] = {}

    def of(self, kind: str, absent: Iterable[str], now: float) -> list[Gone]:
        """The things of a kind that are gone at `now`, each with the seconds since it was first seen so."""
        old = self._since.get(kind, {})
        new = self._since[kind] = {name: old.get(name, now) for name in absent}
        return [Gone(name, now - since) for name, since in new.items()]


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """Collects the facts from the parts of this node. `identity()` gives the present identity."""

    state: Path
    identity: Callable[[], Identity]
    mesh: Mesh
    labels: SignedLabels
    desk: AdmissionDesk | None
    delivery: DeliveryEngine[NodeSteps]
    sources: Mapping[Key, SourceRunner]
    blobs: BlobStore
    cameras: CameraBook
    docker: DockerExecutor
    gpu: GpuUse
    uplink: Uplink
    images: ImageFetches
    absent: Absences = field(default_factory=Absences)

    async def collect(self) -> Facts:
        """The facts now. Only facts from the disk are read in a thread; the rest belongs to the loop."""
        disk, synchronised, uplink = await asyncio.to_thread(
            lambda: (shutil.disk_usage(self.state), clock_synchronised(), self.uplink.state())
        )
        identity, known, live = self.identity(), self.mesh.known(), self.mesh.live()
        current = self.delivery.definitions.current.values()
        kinds = [self.delivery.definitions.kinds.of(s) for p in current for s in p.steps]
        return Facts(
            node=identity.name,
            state=str(self.state),
            disk_free=disk.free,
            disk_total=disk.total,
            operators=sum(n.role == ROLE_OPERATOR for n in known),
            certificate_days=(identity.not_after - time.time()) / 86400,
            nodes=len(known),
            sink_wanted=any(k.is_alert for k in kinds),
            sink_connected=self._sink_connected(uplink["last_error"]),
            sink_error=uplink["last_error"],
            clock_synchronised=synchronised,
            cameras=self.cameras.infos(),
            failing=self._failing(),
            sources=self._sources(),
            gpu_wanted=bool(self.gpu.missing),
            gpu_used=False if self.gpu.missing else None,
            docker_wanted=any(DockerTask in k.programs.values() for k in kinds)
            and self.mesh.me.labels.get("docker") == "true",
            docker_available=self.docker.available,
            queue_open=self.delivery.journal.open_count,
            queue_max=self.delivery.journal.max_open,
            blobs_bytes=self.blobs.stored,
            blobs_quota=self.blobs.quota,
            pending=len(self.desk.pending.list()) + len(self.labels.wishes) if self.desk else 0,
            learning=self._learning(),
            strangers=[
                f"{n.name} (version {n.version or 'unknown'}) speaks protocol {n.protocol}"
                for n in self.mesh.strangers()
            ],
            gone=self._gone(known),
            lost_cameras=self.absent.of("camera", [c.name for c in self.cameras.infos() if not c.ok], time.monotonic()),
            lost_sources=self.absent.of("source", [s.name for s in self._sources() if not s.ok], time.monotonic()),
            images=self.images.texts(),
            steps_without_node=[note for p in current for note in steps_without_node(p, live)],
        )

    def _learning(self) -> list[LearningFact]:
        learning = self.delivery.steps.parts.devices.learning
        return [
            LearningFact(p.name, left, learning.met(p, step))
            for p in self.delivery.definitions.current.values()
            for step, left in learning.steps_of(p)
            if left
        ]

    def _gone(self, known: list[NodeRecord]) -> list[Gone]:
        """Nodes that are gone; those that were not seen since the start count from then. Every node sees them, so only two
        kinds of nodes tell.
        """
        if self.identity().role != ROLE_OPERATOR and not self.uplink.configured:
            return []
        absent = [n for n in known if not self.mesh.is_live(n.id)]
        seen = {n.id for n in known}
        names = {n.name for n in known}  # a device that joined again has the document of its old id, too
        never = {name for node, name in self.labels.names().items() if node not in seen and name not in names}
        gone = [Gone(n.name, self.mesh.since_record(n.id)) for n in absent]
        return gone + self.absent.of("node", sorted(never), time.monotonic())

    def _sink_connected(self, error: str) -> bool | None:
        if self.uplink.configured:
            return self.uplink.connected or not error  # no error yet: just after the start it was not asked
        return True if any(n.labels.get("uplink") == "true" for n in self.mesh.known()) else None

    def _failing(self) -> list[FailingStep]:
        made = []
        for pipeline, step in {(p, s) for p, _, s in self.delivery.hosts.conditions}:
            now = self.delivery.hosts.now(pipeline, step)
            if now.failures and now.code != ON_ITS_WAY:
                started = now.state != "not-started"
                made.append(FailingStep(pipeline, step, now.failures, now.error, started, now.hint, now.queued))
        return made

    def _sources(self) -> list[SourceFact]:
        made = []
        for (_pipeline, _version, step, _source), runner in self.sources.items():
            senders, counts = runner.senders(), runner.counts()
            made.append(
                SourceFact(
                    f"{step} {runner.name}",
                    not runner.problem,
                    runner.problem,
                    counts.unread,
                    _strangers(senders),
                    gaps=counts.gaps,
                    missing=counts.missing,
                    events=counts.events,
                    unrecognised=counts.unrecognised,
                    unrecognised_s=counts.unrecognised_s,
                    dropped={k: n for k, n in counts.dropped.items() if k not in EXPECTED},
                    dropped_s=counts.dropped_s,
                    hint=runner.hint,
                    unheard=_unheard(senders, counts),
                )
            )
        return made


def _unheard(senders: list[SenderCount], counts: SourceCounts) -> list[str]:
    """The senders of many lines without an event; none where no sender has any: that is the source's own fault."""
    if not counts.events:
        return []
    return [s.address for s in senders if s.allowed and s.lines >= UNHEARD and s.address not in counts.found][
        :MOST_UNHEARD
    ]


def _strangers(senders: list[SenderCount]) -> list[str]:
    """The addresses that an operator should decide about."""
    since = time.time() - RECENT
    return [s.address for s in senders if not s.allowed and not s.decided and s.last > since]
