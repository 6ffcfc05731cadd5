"""Everything at a glance, and what `doctor` can only learn inside of the agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from functools import cache
from importlib import metadata

from agent.api import results
from agent.api.resources.cameras import Cameras
from agent.api.resources.common import certificate
from agent.api.resources.nodes import Nodes
from agent.api.resources.pipelines import Pipelines
from agent.api.resources.sink import Sink
from agent.blobs import BlobStore
from agent.config import Config
from agent.delivery import ENDS, DeliveryEngine
from agent.executors import DockerExecutor, WasmExecutor
from agent.health import HealthRegistry
from agent.identity import Identity
from agent.mesh import Mesh
from agent.model.event import now
from agent.steps import StepKinds, TailRunner

Sources = Mapping[tuple[str, str, str, str], TailRunner]
"""The logs that this node follows, by pipeline, version, step and source."""


class Status:
    """The state of this node, put together from the other resources and from parts that have no other one."""

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        delivery: DeliveryEngine[StepKinds],
        *,
        version: str,
        identity: Callable[[], Identity],
        nodes: Nodes,
        pipelines: Pipelines,
        cameras: Cameras,
        sink: Sink,
        sources: Sources,
        blobs: BlobStore,
        wasm: WasmExecutor,
        docker: DockerExecutor,
        health: HealthRegistry,
    ) -> None:
        self._config, self._mesh, self._delivery, self._version, self._identity = (
            config, mesh, delivery, version, identity,
        )  # fmt: skip
        self._nodes, self._pipelines, self._cameras, self._sink = nodes, pipelines, cameras, sink
        self._sources, self._blobs, self._wasm, self._docker, self._health = sources, blobs, wasm, docker, health
        self._started = time.monotonic()

    async def show(self) -> results.Status:
        """Everything that `status` shows. It is asked every 2 s by `--watch` and asks no other node."""
        identity, usage = self._identity(), self._blobs.usage()
        return results.Status(
            version=self._version,
            time=now(),
            uptime_s=round(time.monotonic() - self._started, 1),
            node=self._me(),
            mesh=self._mesh_state(identity),
            certificate=certificate(identity.not_after),
            nodes=self._nodes.states(),
            cameras=self._cameras.states(),
            sources=[
                results.SourceState(
                    f"{k[0]}/{k[2]} {r.source.name}",
                    ok=not (r.error or r.source.problem),
                    unread=r.source.counters.unread,
                    text=r.error or r.source.problem,
                )
                for k, r in self._sources.items()
            ],
            pipelines=self._pipelines.states(),
            journal=self._journal(),
            engines=self._engines(),
            blobs=results.BlobUsage(usage.bytes, usage.quota, usage.count, usage.pinned),
            uplink=self._sink.state(),
            warnings=self._health.list(),
            last_event=self._last(),
        )

    async def watch(self, every: float) -> AsyncIterator[results.Status]:
        """The status every so many seconds, half a second at least, without end."""
        while True:
            yield await self.show()
            await asyncio.sleep(max(every, 0.5))

    def _me(self) -> results.Me:
        me = self._mesh.me
        return results.Me(me.id, me.name, me.role, me.labels, self._mesh.boot, me.labels.get("arch", ""))

    def _mesh_state(self, identity: Identity) -> results.MeshState:
        config = self._config.mesh
        return results.MeshState(
            identity.mesh_id,
            operators=sum(n.role == "operator" for n in self._mesh.known()),
            pending=self._nodes.waiting(),
            listen=f"{config.listen}:{config.port}",
            enrol=f"{config.listen}:{config.enrol_port}",
        )

    def _journal(self) -> results.JournalState:
        totals = [c for steps in self._delivery.totals().values() for c in steps.values()]
        return results.JournalState(
            accepted=sum(c["accepted"] for c in totals),
            open=self._delivery.journal.open_count,
            max_open=self._delivery.journal.max_open,
            ends=results.Ends(**{e: sum(c[e] for c in totals) for e in ENDS}),
            unread=sum(r.source.counters.unread for r in self._sources.values()),
        )

    def _engines(self) -> results.Engines:
        policy = self._config.policy
        return results.Engines(
            wasm=versioned(self._wasm.name) if policy.wasm else "",
            docker=self._docker.version if policy.docker else "",
            process=policy.process,
            gpu=self._mesh.me.labels.get("gpu") == "true",
        )

    def _last(self) -> results.LastEvent | None:
        if not self._delivery.recent:
            return None
        last = self._delivery.recent[-1]
        age = time.time() - datetime.fromisoformat(last["time"]).timestamp()
        return results.LastEvent(
            **{k: last.get(k, "") for k in ("id", "type", "time", "node", "pipeline", "step")},
            age_s=round(max(0.0, age), 1),
        )

    async def checks(self) -> list[results.Check]:
        """The state of the mesh and of the journal, and the warnings."""
        links, others = len(self._mesh.links()), len(self._mesh.known()) - 1
        failed = self._delivery.journal.storage.failed
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
            *(results.Check(w.code, "warn", w.text, w.remedy) for w in self._health.list()),
        ]


@cache
def versioned(engine: str) -> str:
    """The name of a WASM engine with the version of its package, where that is known."""
    try:
        return f"{engine} {metadata.version('pywasm3' if engine == 'wasm3' else engine)}"
    except metadata.PackageNotFoundError:
        return engine
