"""The state of the node and mesh, and the checks of `doctor` inside the agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cache

import msgspec

from agent.api import results
from agent.api.requests import StatusQuery
from agent.api.resources.cameras import Cameras
from agent.api.resources.common import certificate
from agent.api.resources.nodes import Nodes
from agent.api.resources.other_nodes import STATUS, OtherNodes
from agent.api.resources.pipelines import Pipelines
from agent.api.resources.sink import Sink
from agent.api.resources.sources import source_state
from agent.blobs import BlobStore
from agent.config import Config
from agent.delivery import ENDS, DeliveryEngine
from agent.errors import Refused
from agent.executors import DockerExecutor, WasmExecutor
from agent.health import HealthRegistry
from agent.identity import Identity, PeerIdentity
from agent.logs import LogStore
from agent.mesh import Handler, Mesh
from agent.model.event import now
from agent.steps import NodeSteps, SourceRunner

RIGHT = 5.0
"""Seconds of difference that stamps of whole seconds and late looks explain."""
Sources = Mapping[tuple[str, str, str, str], SourceRunner]
"""The logs that this node follows, by pipeline, version, step and source."""


@dataclass(eq=False)
class Status:
    """The state of this node, collected from the other resources and parts."""

    config: Config
    mesh: Mesh
    delivery: DeliveryEngine[NodeSteps]
    _: KW_ONLY
    version: str
    identity: Callable[[], Identity]
    nodes: Nodes
    pipelines: Pipelines
    cameras: Cameras
    sink: Sink
    sources: Sources
    blobs: BlobStore
    wasm: WasmExecutor
    docker: DockerExecutor
    health: HealthRegistry
    logs: LogStore
    others: OtherNodes
    device: results.DeviceFacts
    durable: bool
    """Whether the journal survives a power cut."""
    started: float = field(default_factory=time.monotonic)

    async def show(self, node: str = "") -> results.Status:
        """Everything that `status` shows of this node, of another one, or with `*` of the whole mesh."""
        if node and node not in ("*", self.mesh.me.id, self.mesh.me.name):
            return await self.others.one(node)
        own = await self.own()
        return await self.others.added_to(own) if node == "*" else own

    @property
    def verbs(self) -> dict[str, Handler]:
        """The answers to other nodes, by verb."""
        return {STATUS: self._serve}

    async def _serve(self, peer: PeerIdentity, body: bytes) -> bytes:
        """Answer `status.show` with this node's status as JSON; raises Refused where the peer is not an operator."""
        del body
        if not peer.is_operator:
            raise Refused(f"{peer.name} is not an operator", hint="run it on an operator", code="not-operator")
        return msgspec.json.encode(await self.own())

    async def own(self) -> results.Status:
        """The status of this node; asks no other node."""
        identity, usage = self.identity(), await asyncio.to_thread(self.blobs.usage)
        return results.Status(
            version=self.version,
            time=now(),
            uptime_s=round(time.monotonic() - self.started, 1),
            node=self._me(),
            mesh=self._mesh_state(identity),
            certificate=certificate(identity.not_after),
            nodes=self.nodes.states(),
            cameras=self.cameras.states(),
            sources=[source_state(f"{k[0]}/{k[2]} {r.name}", r) for k, r in self.sources.items()],
            pipelines=self.pipelines.states(),
            journal=self._journal(),
            engines=self._engines(),
            blobs=results.BlobUsage(usage.bytes, usage.quota, usage.count, usage.pinned),
            uplink=self.sink.state(),
            warnings=self.health.list(),
            last_event=self._last(),
            logs=results.LogUsage(self.logs.bytes, self.logs.lost),
            device=self.device,
        )

    def answer(self, asked: StatusQuery) -> Awaitable[results.Status] | AsyncIterator[results.Status]:
        """The status once, or repeatedly with `watch`."""
        return self.watch(asked.watch, asked.node) if asked.watch else self.show(asked.node)

    async def watch(self, every: float, node: str = "") -> AsyncIterator[results.Status]:
        """The status every so many seconds, half a second at least, without end."""
        while True:
            yield await self.show(node)
            await asyncio.sleep(max(every, 0.5))

    def _me(self) -> results.Me:
        me = self.mesh.me
        return results.Me(me.id, me.name, me.role, me.labels, self.mesh.boot, me.labels.get("arch", ""))

    def _mesh_state(self, identity: Identity) -> results.MeshState:
        config = self.config.mesh
        return results.MeshState(
            identity.mesh_id,
            operators=sum(n.role == "operator" for n in self.mesh.known()),
            pending=self.nodes.waiting(),
            listen=f"{config.listen}:{config.port}",
            enrol=f"{config.listen}:{config.enrol_port}",
        )

    def _journal(self) -> results.JournalState:
        totals = [c for steps in self.delivery.totals().values() for c in steps.values()]
        return results.JournalState(
            accepted=sum(c["accepted"] for c in totals),
            open=self.delivery.journal.open_count,
            max_open=self.delivery.journal.max_open,
            ends=results.Ends(**{e: sum(c[e] for c in totals) for e in ENDS}),
            unread=sum(r.counts().unread for r in self.sources.values()),
            durable=self.durable,
            in_memory=len(self.delivery.journal.rows),
        )

    def _engines(self) -> results.Engines:
        policy = self.config.policy
        return results.Engines(
            wasm=versioned(self.wasm.name) if policy.wasm else "",
            docker=self.docker.version or ("yes" if self.docker.available else "") if policy.docker else "",
            process=policy.process,
            gpu=self.mesh.me.labels.get("gpu") == "true",
        )

    def _last(self) -> results.LastEvent | None:
        if (last := self.delivery.newest) is None:
            return None
        age = time.time() - datetime.fromisoformat(last["time"]).timestamp()
        return results.LastEvent(
            **{k: last.get(k, "") for k in ("id", "type", "time", "node", "pipeline", "step")},
            age_s=round(max(0.0, age), 1),
        )

    async def checks(self) -> list[results.Check]:
        """The state of the mesh and of the journal, and the warnings."""
        links, others = len(self.mesh.links()), len(self.mesh.known()) - 1
        failed = self.delivery.journal.storage.failed
        return [
            results.Check(
                "mesh",
                "ok" if links >= min(1, others) else "warn",
                f"{links} links, {others} other nodes",
                "check that the mesh port is open on one of two nodes",
            ),
            results.Check(
                "journal",
                "fail" if failed else "ok",
                str(failed or "writable"),
                "check the disk, then restart the agent",
            ),
            *(source_check(f"{k[2]} {r.name}", r) for k, r in self.sources.items()),
            *(results.Check(w.code, "warn", w.text, w.remedy) for w in self.health.list()),
        ]


def source_check(name: str, runner: SourceRunner) -> results.Check:
    """The counts of a log as a check; faults of the log are warnings beside it."""
    counts, now_ = runner.counts(), time.time()
    words = [f"{counts.lines} lines", f"{counts.events} events"]
    words.append(f"last line {now_ - counts.last:.0f} s ago" if counts.last else "no line since the start")
    if counts.clock_s is not None:
        words.append(f"its clock is {offset_in_words(counts.clock_s)}")
    words += [f"{n} dropped ({reason})" for reason, n in sorted(counts.dropped.items())]
    if counts.unread:
        words.append(f"{counts.unread} bytes rotated away unread")
    remedy = "see the warnings about this log" if runner.problem else ""
    return results.Check(f"log {name}", "warn" if runner.problem else "ok", ", ".join(words), remedy)


def offset_in_words(seconds: float) -> str:
    """A clock's offset to this node's, to the minute above one: `2 h 30 min ahead of this node's`, `right`."""
    if abs(seconds) < RIGHT:
        return "right"
    minutes = round(abs(seconds) / 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes % 60, "min")) if n]
    length = " ".join(parts) or f"{abs(seconds):.0f} s"
    return f"{length} {'ahead of' if seconds > 0 else 'behind'} this node's; ages of its lines are corrected"


@cache
def versioned(engine: str) -> str:
    """The name of a WASM engine with the version of its package, where that is known."""
    from importlib import metadata  # a megabyte of memory that only an agent with callers needs

    try:
        return f"{engine} {metadata.version('pywasm3' if engine == 'wasm3' else engine)}"
    except metadata.PackageNotFoundError:
        return engine
