"""A small building for delivery tests: nodes with real journals, a mesh in memory, steps that answer at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from agent.delivery import Context, Deciders, DeliveryEngine, Journal
from agent.errors import BlobError, StepFailed
from agent.executors import NoLog, Policy
from agent.model.alert import Alert
from agent.model.event import BlobRef
from agent.model.pipeline import Pipeline
from agent.model.task import DockerTask, StepInput, StepOutput, WasmTask
from agent.steps import KINDS, Alerts, DeviceRecords, Logs, NodeSteps, Parts, StepPrograms
from tests.doubles import MemoryBlobs, MemoryNet
from tests.support import load_pipeline

STORY = """\
version: 1
name: person-at-the-door
steps:
  wifi:
    tail: auto
    where: wifi-log=true
    wasm: {module: filters/wifi-join.wasm}
    emit: [wifi.client.joined]
  arrived:
    after: wifi
    presence: {away: 30m, learn: 0}
  photos:
    after: arrived
    when: "!data.device.known"
    where: camera=true
    camera: {shots: 2, every: 0s}
    deadline: 15s
  small:
    after: photos
    wasm: {module: filters/rescale.wasm}
  labels:
    after: small
    docker: {image: edge/detector:1}
    where: docker=true
    prefer: gpu=true
  alert:
    after: labels
    when: "data.labels[?name=='person' && score >= `0.4`]"
    cooldown: {key: [root, data.camera], for: 5m}
    sink: {photo: labelled}
keep: {matched: 7d, unmatched: 0}
"""
LABELS = {
    "ap": {"wifi-log": "true"},
    "porch": {"camera": "true"},
    "garage": {"camera": "true"},
    "gpu": {"docker": "true", "gpu": "true"},
    "old": {"docker": "true"},
    "up": {"uplink": "true"},
}


class Photo:
    def __init__(self, jpeg: bytes) -> None:
        self.jpeg, self.width, self.height = jpeg, 4, 3


class Cameras:
    """Every shot differs; shots of the `porch` show a person."""

    def __init__(self, node: str) -> None:
        self.node, self.shots = node, 0

    def about_labels(self, name: str) -> dict[str, Any]:
        return {}

    def names(self) -> list[str]:
        return [f"{self.node}-cam"] if "camera" in LABELS[self.node] else []

    async def shoot(self, name: str, shots: int, every: float, taken: Any) -> None:
        self.shots += shots
        for i in range(shots):
            await taken(Photo(f"{name} {self.shots} {i}".encode()))


class Program:
    """Rescale and detector at once: answers with the blob it got."""

    in_flight = 4
    start_failure: StepFailed | None = None

    def __init__(self, kind: str, building: Building) -> None:
        self.kind, self.building = kind, building

    async def start(self) -> None:
        self.building.starts[self.kind] += 1

    async def close(self) -> None: ...

    async def run(self, item: StepInput) -> list[StepOutput]:
        self.building.runs[self.kind] += 1
        if self.building.fail.get(self.kind, 0) > 0:
            self.building.fail[self.kind] -= 1
            raise StepFailed("it broke")
        data = {k: v for k, v in item.event.data.items() if k != "blobs"}
        blobs = [BlobRef(b.name, b.cid, b.type, b.size) for b in item.blobs]
        if self.kind == "docker":
            name = "person" if data["camera"].startswith("porch") else "cat"
            data["labels"] = [{"name": name, "score": 0.9, "box": [0, 0, 1, 1]}]
            return [StepOutput("image.labels", data, blobs)]
        return [StepOutput("image.rescaled", data, blobs)]


class Executors:
    def __init__(self, building: Building) -> None:
        self.building = building

    def runner(self, task: Any, name: str, log: Any, module: Path | None) -> Any:
        if isinstance(task, WasmTask):
            return self.wasm(module, task)
        return self.docker(task, name) if isinstance(task, DockerTask) else self.process(task)

    def wasm(self, module: Path | None, task: Any) -> Any:
        return Program("wasm", self.building)

    def docker(self, task: Any, name: str) -> Any:
        return Program("docker", self.building)

    def process(self, task: Any) -> Any:
        return Program("process", self.building)


class Node:
    """One agent's pipelines, that can die and come back."""

    def __init__(self, building: Building, name: str) -> None:
        self.building, self.name = building, name
        self.blobs = MemoryBlobs()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        net = self.building.net
        self.blobs = MemoryBlobs(self.blobs.data)
        mesh = net.join(self.name, LABELS[self.name])
        journal = Journal(self.building.path / f"{self.name}.db", max_open=self.building.max_open)
        self.p = DeliveryEngine(self.name, self.name, mesh, journal, self.blobs, self._fetch, self._steps, kinds=KINDS)
        self.steps = self.p.steps
        self.devices = self.steps.parts.devices
        self.p.load()
        self.p.definitions.apply(self.building.pipeline.name, self.building.body)
        self.task = asyncio.create_task(self.p.run())

    def _steps(self, context: Context, deciders: Deciders) -> NodeSteps:
        programs = StepPrograms(context, Executors(self.building), lambda cid: Path("/dev/null"), lambda *_: NoLog())  # type: ignore[arg-type]
        programs.module = self._module  # type: ignore[method-assign]
        parts = Parts(
            context=context,
            mesh_id="mesh",
            policy=Policy(process=True),
            programs=programs,
            cameras=Cameras(self.name),
            devices=DeviceRecords(deciders),
            alerts=Alerts(context, self._submit),
            writer=self.blobs,  # type: ignore[arg-type]
            log_of=lambda *_: NoLog(),
            logs=Logs([], Path()),
        )
        return NodeSteps(parts)

    async def _module(self, cid: str) -> Path:
        return Path("/dev/null")

    async def _fetch(self, cid: str, holders: list[str], timeout: float, size: int | None) -> None:
        for holder in holders:
            node = self.building.nodes.get(holder)
            if node and self.building.net.sees(self.name, holder) and cid in node.blobs.data:
                node.blobs.check_size(cid, size)
                self.blobs.data[cid] = node.blobs.data[cid]
                return
        raise BlobError(f"{cid}: no holder")

    async def _submit(self, alert: Alert) -> None:
        if self.building.sink_down:
            self.building.spool.append((self.name, alert))
            return
        self.building.alerts[alert.event.id] += 1
        self.building.last_alert = alert
        self.steps.parts.alerts.delivered(alert.event.id)

    async def stop(self, *, disk: bool = True) -> None:
        """SIGKILL: nothing is said, nothing is flushed but what was committed."""
        if self.name in self.building.net.nodes:
            self.building.net.leave(self.name)
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.p.journal.close()
        if not disk:
            for f in self.building.path.glob(f"{self.name}.db*"):
                f.unlink()
            self.blobs = MemoryBlobs()


class Building:
    """Some nodes and a sink that counts."""

    def __init__(
        self, path: Path, text: str = STORY, *, seed: int = 0, lose: float = 0.0, max_open: int = 10_000
    ) -> None:
        self.path = path
        self.net = MemoryNet(seed, lose)
        self.pipeline: Pipeline = load_pipeline(text)
        import msgspec

        self.body = msgspec.json.encode(self.pipeline)
        self.nodes: dict[str, Node] = {}
        self.alerts: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self.fail: dict[str, int] = {}
        self.sink_down = False
        self.spool: list[tuple[str, Alert]] = []
        self.last_alert: Alert | None = None
        self.max_open = max_open

    def start(self, *names: str) -> None:
        for name in names or ("ap", "porch", "garage", "gpu", "up"):
            self.nodes[name] = Node(self, name)
            self.nodes[name].start()

    async def join(self, mac: str, at: str = "ap") -> str:
        p = self.nodes[at].p
        return await p.trigger(self.pipeline, "wifi", "wifi.client.joined", {"mac": mac, "interface": "wlan0"})

    def quiet(self) -> bool:
        """Nothing is open and everything is closed and reported, on every running node."""
        running = [n for n in self.nodes.values() if n.name in self.net.nodes]
        return all(
            r.closed and all(k == 2 for k in r.claims.values()) for n in running for r in n.p.journal.rows.values()
        )

    def ends(self) -> dict[str, Counter[str]]:
        """Ends by step over all rows of all nodes that were not made for another node."""
        found: dict[str, Counter[str]] = {}
        for node in self.nodes.values():
            for r in node.p.journal.rows.values():
                found.setdefault(r.step, Counter())[r.end or "open"] += 1
        return found

    def check_sums(self) -> None:
        for node in self.nodes.values():
            for key, counts in node.p.journal.totals().items():
                rest = sum(n for k, n in counts.items() if k != "accepted")
                assert counts["accepted"] == rest, (node.name, key, counts)

    async def stop(self) -> None:
        for node in self.nodes.values():
            if node.name in self.net.nodes:
                await node.stop()

    def unfinished(self) -> str:
        """The rows that are open, unclosed or unreported, for the message of a failed test."""
        lines = [f"{len(self.alerts)} alerts"]
        for node in self.nodes.values():
            for r in node.p.journal.rows.values():
                if not r.closed or any(k < 2 for k in r.claims.values()):
                    lines.append(
                        f"{node.name} {r.n} {r.event.id[:5]} {r.step} {r.state.name} {r.end} target={r.target} "
                        f"closed={r.closed} claims={r.claims} parent={r.parent} attempts={r.attempts} {r.reason}"
                    )
        return "\n".join(lines[:40])
