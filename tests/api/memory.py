"""Resources in memory for the tests of the API and of the command line, made of the structs of `agent.api.results`."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import msgspec

from agent.api import Resources, resources, serve_api
from agent.api import results as r
from agent.api.requests import (
    AddCamera,
    Approve,
    ConnectSink,
    CreateToken,
    DecideSender,
    EgressQuery,
    EventsQuery,
    Label,
    LogsQuery,
    Merge,
    NodesQuery,
    Pause,
    Rename,
    Rollback,
    Source,
    StatusQuery,
    StopLearning,
    Trigger,
    TryStep,
    UpdateDevice,
    Upgrade,
)
from agent.config import Config
from agent.errors import CameraError, ConfigError, NotFound, PipelineError, Refused, Unreachable
from agent.model.health import Warning
from agent.model.install_line import InstallLines

MAC = "3c:22:fb:00:00:01"
PIPELINE = "person-at-the-door"


def step(name: str, kind: str, where: str, nodes: list[str], *, accepted: int = 0, **extra: Any) -> r.StepState:
    """One step of the status; the ends are zero where they are not given."""
    ends = r.Ends(**{k: extra.pop(k) for k in r.Ends.__struct_fields__ if k in extra})
    made = {"after": [], "here": "gpu" in nodes, "open": 0, "running": 0, **extra}
    return r.StepState(step=name, kind=kind, where=where, nodes=nodes, accepted=accepted, ends=ends, **made)


def node(ident: str, name: str, address: str, seen_s: float, labels: dict[str, str], **extra: Any) -> r.NodeState:
    """One node of the status: a member that is alive where nothing else is said."""
    made = {"role": "member", "own": False, "alive": True, "linked": True, **extra}
    return r.NodeState(
        id=ident, name=name, version="0.1.0", labels=labels, endpoints=[f"{address}:7946"], seen_s=seen_s, **made
    )


NODES = [
    node("g4h5j6k7m8n9p2q3", "gpu", "10.0.0.4", 0.0, {"gpu": "true", "docker": "true", "uplink": "true"},
         role="operator", own=True),
    node("a2b3c4d5e6f7g8h9", "ap", "10.0.0.1", 4.2, {"wifi-log": "true"}),
    node("p7o6i5u4y3t2r1e0", "porch", "10.0.0.2", 1.0, {"camera": "true"}),
    node("z9x8c7v6b5n4m3l2", "garage", "10.0.0.3", 312.0, {"camera": "true"}, alive=False, linked=False),
]  # fmt: skip

STEPS = [
    step("wifi", "tail", "wifi-log=true", ["ap"], accepted=12, delivered=12, run_ms=0.4),
    step("arrived", "presence", "", ["gpu"], accepted=12, delivered=3, skipped=9, run_ms=0.2),
    step("photos", "camera", "camera=true", ["porch", "garage"], accepted=3, delivered=3, run_ms=18.0),
    step("small", "wasm", "", ["porch", "garage"], accepted=6, delivered=6, run_ms=24.5),
    step("labels", "docker", "docker=true", ["gpu"], accepted=6, delivered=4, failed=1, open=1, running=1,
         run_ms=41.0, error="the container died", state="failing", hint="see its log"),
    step("alert", "sink", "uplink=true", ["gpu"], accepted=4, delivered=1, skipped=3, run_ms=9.1),
]  # fmt: skip

SOURCE = r.SourceState(
    "person-at-the-door/wifi udp://:5514", True, unread=5_242_880, text="", lines=1234, events=3, last="2026-11-22T09:59:57Z",
    dropped={"rate": 12}, senders=[
        r.Sender("192.0.2.7", True, False, 1200, 90_000, "2026-11-22T09:59:57Z", events=3),
        r.Sender("192.0.2.66", False, False, 0, 0, "2026-11-22T09:59:50Z", {"not allowed": 40}),
    ],
)  # fmt: skip

STATUS = r.Status(
    version="0.1.0",
    time="2026-11-22T10:00:00.000Z",
    uptime_s=93784.0,
    node=r.Me("g4h5j6k7m8n9p2q3", "gpu", "operator", NODES[0].labels, boot="b1", arch="x86_64"),
    mesh=r.MeshState("m2c4kq7w", operators=1, pending=1, listen="0.0.0.0:7946", enrol="0.0.0.0:7947"),
    certificate=r.Certificate("2027-12-27T10:00:00Z", 400),
    nodes=NODES,
    cameras=[
        r.CameraState("porch", "door", "rtsp", True),
        r.CameraState("gpu", "gate", "v4l2", False, "no picture for 10 s"),
    ],
    sources=[SOURCE],
    pipelines=[r.PipelineState(PIPELINE, "8f3a91c2", STEPS)],
    journal=r.JournalState(43, 1, 10000, r.Ends(delivered=29, skipped=12, failed=1), unread=0),
    engines=r.Engines(wasm="wasmtime 50.0.1", docker="20.10.24", process=False, gpu=False),
    blobs=r.BlobUsage(bytes=1_468_006, quota=5_000_000_000, count=12, pinned=2),
    uplink=r.UplinkState(
        configured=True, connected=True, sink="https://192.0.2.7:8443", waiting=0, waiting_bytes=0, oldest_s=0.0,
        last_error="", delivered=1, refused=0, bytes_up=61_440, bytes_down=212, node="gpu", last="2026-11-22T09:59:58.000Z",
    ),
    warnings=[
        Warning("camera.silent", "gate", "camera gate (v4l2) gives no pictures", "run edge-agent camera test gate"),
        Warning("operator.one", "mesh", "only one operator can admit nodes and sign pipelines",
                "let another device join as an operator: edge-agent token create --role operator", "info"),
    ],
    logs=r.LogUsage(bytes=20_480, lost=0),
    device=r.DeviceFacts(
        arch="x86_64", engine="wasmtime", system="linux", name="Debian GNU/Linux 12 (bookworm)", model="LENOVO ThinkPad X220",
        cores=4, memory=8 << 30, flash=120 << 30, init="systemd", libc="glibc", radios=["phy0"], gpus=1,
    ),
    last_event=r.LastEvent("qx7m2k", "image.labels", "2026-11-22T09:59:57.120Z", "gpu", PIPELINE, "labels", age_s=2.9),
)  # fmt: skip

TRACE = r.Trace(
    id="alert-abc", root="line-xyz", pipeline=PIPELINE, type="image.labels", time="2026-11-22T09:59:58.000Z",
    complete=True, total_ms=131.5, bytes_up=61_440,
    hops=[
        r.TraceHop("line", "ap", 0.0, 0.0, "line-xyz"),
        r.TraceHop("wifi", "ap", 1.2, 0.4, "e1"),
        r.TraceHop("arrived", "gpu", 5.0, 0.2, "e2"),
        r.TraceHop("photos", "porch", 29.4, 18.0, "e3"),
        r.TraceHop("small", "porch", 55.0, 24.5, "e4"),
        r.TraceHop("labels", "gpu", 104.1, 41.0, "e5"),
        r.TraceHop("alert", "gpu", 131.5, 9.1, "e6", end="delivered"),
    ],
    branches=[r.Branch("alert", "gpu", "skipped", "when", 1)],
    photos=[r.TracePhoto("door.jpg", "bafkreiabc", 58_112)],
)  # fmt: skip

EVENT = r.EventRow(
    specversion="1.0", id="ev1", source="/ap/person-at-the-door/wifi", type="wifi.client.joined",
    time="2026-11-22T09:59:57.000Z", data={"mac": MAC, "interface": "wlan0"}, node="ap", pipeline=PIPELINE, step="wifi",
)  # fmt: skip


class MemoryAgent:
    """The data behind the resources; `calls` records each change."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.calls: list[tuple[Any, ...]] = []
        self.state = copy.deepcopy(STATUS)
        heard = {"first_seen": "2026-11-20T08:00:00Z", "last_seen": "2026-11-22T09:59:57Z"}
        self.devices = {MAC: r.Device(id=MAC, known=False, private=False, present=True, node="ap", **heard)}
        self.senders = {
            "192.0.2.7": r.Sender(
                "192.0.2.7", True, False, 12, 900, "2026-11-22T09:59:57Z", sample="<29>ap hostapd: up"
            ),
            "192.0.2.66": r.Sender(
                "192.0.2.66", False, False, 0, 0, "2026-11-22T09:59:57Z", {"not allowed": 3}, "<13>guest"
            ),
        }
        self.cameras = {"door": r.Camera("gpu", "door", "file", "file:door.jpg", True, True, "")}
        self.blobs: dict[str, bytes] = {}
        self.recent = 1
        self.events_queue: asyncio.Queue[r.EventRow] = asyncio.Queue()
        self.sink_key = ""
        self.install: InstallLines | None = None
        self.resources = Resources(
            status=Status(self), events=Events(self), logs=Logs(self), config=resources.Configuration(config), nodes=Nodes(self),
            network=Network(self),
            tokens=Tokens(self), pipelines=Pipelines(self), devices=Devices(self), sources=Sources(self), cameras=Cameras(self),
            blobs=Blobs(self), sink=Sink(self), images=Images(self), upgrades=Upgrades(self),
        )  # fmt: skip

    def node(self, name: str) -> r.NodeState:
        for found in NODES:
            if name in (found.id, found.name):
                return found
        raise NotFound(f"there is no node {name}", hint="nodes: ap, garage, gpu, porch")

    def pipeline(self, name: str) -> r.PipelineState:
        if name != PIPELINE:
            raise NotFound(f"there is no pipeline {name}", hint=f"did you mean {PIPELINE}?")
        return self.state.pipelines[0]


class Resource:
    """Every resource in memory knows the data of all."""

    def __init__(self, agent: MemoryAgent) -> None:
        self.agent = agent


class Status(Resource):
    async def show(self, node: str = "") -> r.Status:
        return copy.deepcopy(self.agent.state)

    def answer(self, asked: StatusQuery) -> Awaitable[r.Status] | AsyncIterator[r.Status]:
        return self.watch(asked.watch, asked.node) if asked.watch else self.show(asked.node)

    async def watch(self, every: float, node: str = "") -> AsyncIterator[r.Status]:
        while True:
            yield await self.show(node)
            await asyncio.sleep(every)

    async def checks(self) -> list[r.Check]:
        return [r.Check("mesh", "ok", "3 of 4 nodes are alive", "")]


class Events(Resource):
    async def passing(self, asked: EventsQuery) -> AsyncIterator[r.EventRow]:
        if asked.type in ("", EVENT.type):
            for _ in range(min(asked.limit, self.agent.recent)):
                yield copy.copy(EVENT)
        while asked.follow:
            yield await self.agent.events_queue.get()

    async def trace(self, ident: str) -> r.Trace:
        if not TRACE.id.startswith(ident):
            raise NotFound(f"no alert or event {ident} is known here", hint="edge-agent events shows recent ids")
        return copy.deepcopy(TRACE)


class Logs(Resource):
    async def lines(self, pipeline: str, asked: LogsQuery) -> AsyncIterator[r.LogRow]:
        self.agent.pipeline(pipeline)
        for n in range(min(asked.lines, 3)):
            yield r.LogRow(time="2026-11-22T09:59:57.000Z", node="gpu", step=asked.step or "labels", line=f"line {n}")
        if asked.follow:
            raise Refused("the node gpu left", hint="try again")


class Nodes(Resource):
    async def matching(self, asked: NodesQuery) -> list[r.ListedNode]:
        return [
            r.ListedNode(**msgspec.structs.asdict(n), cameras=[])
            for n in NODES
            if not asked.where or asked.where.partition("=")[0] in n.labels
        ]

    async def describe(self, node: str) -> r.DescribedNode:
        return r.DescribedNode(
            **msgspec.structs.asdict(self.agent.node(node)), capacity=r.NodeCapacity(2.0, 1 << 30, 90, 0), cameras=[],
            steps=[f"{PIPELINE}/labels"], certificate=r.Certificate("2027-12-27T10:00:00Z", 400),
        )  # fmt: skip

    async def pending(self) -> list[r.Pending]:
        return [r.Pending("K7Q2", "join", "attic", "n3w", "2026-11-22T09:58:00Z", {"camera": "true"})]

    async def approve(self, code: str, asked: Approve) -> r.LabelledNode:
        if code != "K7Q2":
            raise NotFound(f"nobody waits with the code {code}", hint="edge-agent node pending lists them")
        self.agent.calls.append(("approve", code, asked.labels))
        return r.LabelledNode("n3w", "attic", asked.labels if asked.labels is not None else {"camera": "true"})

    async def rename(self, node: str, asked: Rename) -> r.RenamedNode:
        found = self.agent.node(node)
        self.agent.calls.append(("rename", found.name, asked.name))
        return r.RenamedNode(found.id, asked.name, node)

    async def label(self, node: str, asked: Label) -> r.LabelledNode:
        found = self.agent.node(node)
        self.agent.calls.append(("label", node, asked.add, asked.drop))
        labels = {k: v for k, v in {**found.labels, **asked.add}.items() if k not in asked.drop}
        return r.LabelledNode(found.id, node, labels)

    async def remove(self, node: str) -> r.RemovedNode:
        found = self.agent.node(node)
        self.agent.calls.append(("remove", found.name))
        return r.RemovedNode(found.id, node, ["ap"], ["porch"], "its key: edge-sink key revoke KEY")


class Network(Resource):
    async def ping(self, node: str) -> r.PingAnswer:
        """The node `garage` does not answer."""
        found = self.agent.node(node)
        if not found.alive:
            raise Unreachable(f"{found.name} did not answer net.ping within 5 s", hint="is it on?")
        return r.PingAnswer(found.name, found.id, 1.25, -0.004, "direct", "10.0.0.4:7946", "0.1.0")

    async def check(self) -> r.NetCheck:
        good, bad = r.Connection("10.0.0.2:7946"), r.Connection("10.0.0.9:7946", "no answer")
        nodes = [
            r.NodeNetwork("ap", "n1", True, "direct", [good], 0.9, 0.0, 1500, True, [good]),
            r.NodeNetwork("porch", "n2", True, "relayed", [bad], 2.5, 61.0, 1500, False, [bad]),
        ]
        findings = [
            r.Check("net.relayed", "warn", "porch has no direct link to this node", "on porch: ufw allow 7946/tcp"),
            r.Check("net.mtu", "fail", "16 KiB do not reach porch", "set a smaller MTU"),
        ]
        mdns = r.MdnsState(True, "", ["ap"], ["porch"])
        return r.NetCheck("gpu", "0.0.0.0:7946", ["10.0.0.4:7946"], mdns, nodes, findings)


class Tokens(Resource):
    async def create(self, asked: CreateToken) -> r.NewToken:
        self.agent.calls.append(("token", asked.ttl, asked.uses, asked.role, asked.labels))
        secret = "edge1.c2VjcmV0"
        line = f"edge-agent serve --join {secret}"
        return r.NewToken(
            "t1", secret, "2026-11-22T11:00:00Z", asked.uses, asked.role, asked.labels, line, self.agent.install
        )

    async def all(self) -> list[r.ListedToken]:
        return [r.ListedToken("t1", "member", {}, "2026-11-22T11:00:00Z", 1, 1, "2026-11-22T10:00:00Z", "open")]

    async def revoke(self, ident: str) -> r.Id:
        if ident != "t1":
            raise NotFound(f"there is no token {ident}", hint="edge-agent token list")
        self.agent.calls.append(("revoke", ident))
        return r.Id(ident)


class Pipelines(Resource):
    async def files(self, asked: Source) -> list[str]:
        text, file = asked.text, asked.file
        if "steps:" not in text:
            raise PipelineError(f"{file}:1: steps is missing", hint="a pipeline has steps", file=file, line=1)
        return [line.split(":", 1)[1].strip() for line in text.splitlines() if line.strip().startswith("module:")]

    async def apply(self, asked: Source) -> r.AppliedPipeline:
        self.agent.calls.append(("apply", asked.file, asked.files, asked.dry_run))
        steps = [r.AppliedStep(s.step, s.kind, s.where, s.nodes) for s in STEPS]
        return r.AppliedPipeline(PIPELINE, "9d", 2, True, [], steps, r.Overrode("8f3a91c2", 1, "gpu"))

    async def diff(self, asked: Source) -> r.PipelineDiff:
        return r.PipelineDiff(PIPELINE, "8f", "9d", "--- 8f\n+++ 9d\n-score: 0.4\n+score: 0.5\n")

    async def all(self) -> list[r.ListedPipeline]:
        return [r.ListedPipeline(1, "gpu", "2026-11-22T09:00:00Z", PIPELINE, "8f3a91c2", steps=6, open=1, alerts=1)]

    async def describe(self, name: str) -> r.DescribedPipeline:
        return r.DescribedPipeline(
            **msgspec.structs.asdict(self.agent.pipeline(name)), counter=1, signer="gpu", applied="2026-11-22T09:00:00Z",
            text="version: 1\n",
        )  # fmt: skip

    async def history(self, name: str) -> list[r.PipelineVersion]:
        self.agent.pipeline(name)
        return [r.PipelineVersion("8f3a91c2", "2026-11-22T09:00:00Z", True, 1, "gpu")]

    async def rollback(self, name: str, asked: Rollback) -> r.AppliedPipeline:
        self.agent.pipeline(name)
        self.agent.calls.append(("rollback", name, asked.version))
        return r.AppliedPipeline(name, "7e", 3, True, [], [])

    async def pause(self, name: str, asked: Pause) -> r.Paused:
        self.agent.pipeline(name)
        self.agent.calls.append(("pause", name, asked.seconds))
        return r.Paused(name, asked.seconds)

    async def resume(self, name: str) -> r.Name:
        self.agent.calls.append(("resume", name))
        return r.Name(name)

    async def trigger(self, name: str, asked: Trigger) -> r.Triggered:
        self.agent.pipeline(name)
        self.agent.calls.append(("trigger", name, asked.step, asked.type, asked.data))
        return r.Triggered("new1", name, asked.step)

    async def test(self, asked: TryStep) -> list[r.Tried]:
        """An event with the id `bad` fails."""
        ends = [(e, "failed" if e.get("id") == "bad" else "delivered") for e in asked.events]
        return [r.Tried(str(e.get("id", "")), end, [e], 1.5, ["a line of its log"]) for e, end in ends]

    async def remove(self, name: str) -> r.RemovedPipeline:
        self.agent.pipeline(name)
        self.agent.calls.append(("remove-pipeline", name))
        return r.RemovedPipeline(name, "8f3a91c2", 2)

    async def schema(self) -> dict[str, Any]:
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}


class Images(Resource):
    async def all(self) -> list[r.UsedImage]:
        steps = [f"{PIPELINE}/labels"]
        nodes = [
            r.ImageOn("gpu", "coming", "image edge/detector:1 is on its way from ap, 120 of 422 MB"),
            r.ImageOn("ap", "here"),
        ]
        return [r.UsedImage("edge/detector:1", "sha256:" + "5" * 64, steps, True, nodes)]


class Devices(Resource):
    async def all(self) -> list[r.Device]:
        return list(self.agent.devices.values())

    async def update(self, ident: str, asked: UpdateDevice) -> r.Device:
        if ident not in self.agent.devices:
            raise NotFound(f"there is no device {ident}", hint=MAC)
        changes = {k: v for k, v in msgspec.structs.asdict(asked).items() if v is not None}
        self.agent.devices[ident] = made = msgspec.structs.replace(self.agent.devices[ident], **changes)
        return made

    async def merge(self, ident: str, asked: Merge) -> r.Device:
        device = self.agent.devices.get(ident)
        if device is None:
            raise NotFound(f"there is no device {ident}", hint="edge-agent device list")
        addresses = [a for a in device.addresses if a != asked.other] + ([] if asked.undo else [asked.other])
        self.agent.devices[ident] = made = msgspec.structs.replace(device, addresses=addresses)
        return made

    async def learning(self) -> list[r.Learning]:
        stopped = ("stop-learning", "") in self.agent.calls
        return [r.Learning(PIPELINE, "arrived", 86400.0, 0.0 if stopped else 86000.0, stopped)]

    async def stop_learning(self, asked: StopLearning) -> list[r.Learning]:
        self.agent.calls.append(("stop-learning", asked.pipeline))
        return await self.learning()

    async def forget(self, ident: str) -> r.Id:
        if self.agent.devices.pop(ident, None) is None:
            raise NotFound(f"there is no device {ident}", hint="edge-agent device list")
        return r.Id(ident)


class Sources(Resource):
    async def all(self) -> list[r.Source]:
        return [r.Source("ap", PIPELINE, "wifi", "udp://:5514", True, "", list(self.agent.senders.values()))]

    async def decide(self, asked: DecideSender) -> r.SenderDecision:
        self.agent.calls.append(("sender", asked.network, asked.allow))
        return r.SenderDecision(asked.network, asked.allow)

    async def certificate(self) -> r.SourceCertificate:
        return r.SourceCertificate("n0de.mesh.internal", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")


class Cameras(Resource):
    async def all(self) -> list[r.Camera]:
        return list(self.agent.cameras.values())

    async def add(self, asked: AddCamera) -> r.Camera:
        options = msgspec.to_builtins(asked)
        name = options.pop("name")
        if name in self.agent.cameras and not options.pop("replace", False):
            raise ConfigError(f"there is a camera {name!r} already", hint="--replace", code="camera.exists")
        self.agent.calls.append(("camera", name, options.pop("source"), options))
        self.agent.cameras[name] = made = r.Camera("gpu", name, "rtsp", "rtsp://…", True, True, "")
        return made

    async def remove(self, name: str) -> r.Name:
        if self.agent.cameras.pop(name, None) is None:
            raise NotFound(f"there is no camera {name}", hint="edge-agent camera list")
        return r.Name(name)

    async def test(self, name: str) -> r.CameraTest:
        self.agent.calls.append(("camera test", name))
        if name not in ("door", "porch"):
            raise CameraError(f"camera {name} gives no pictures", hint="is it switched on?", code="camera.timeout")
        passed = [r.PassedStep("person-at-the-door/small", 640, 360, 2048, 30.0)] if name == "door" else []
        return r.CameraTest(name, True, 1920, 1080, 4, 12.5, b"\xff\xd8\xff\xd9", passed)


class Blobs(Resource):
    async def add(self, fd: int, size: int) -> r.StoredBlob:
        data = os.pread(fd, size, 0)
        cid = f"bafkrei{len(self.agent.blobs)}{size}"
        self.agent.blobs[cid] = data
        return r.StoredBlob(cid, len(data))

    async def path(self, cid: str) -> Path:
        if cid not in self.agent.blobs:
            raise NotFound(f"nobody has the blob {cid}", hint="is its node switched on?")
        path = self.agent.config.state / cid
        path.write_bytes(self.agent.blobs[cid])
        return path

    async def all(self) -> r.BlobList:
        rows = [r.ListedBlob(c, len(b), False) for c, b in self.agent.blobs.items()]
        return r.BlobList(len(rows), sum(b.size for b in rows), 1 << 30, rows)


class Sink(Resource):
    async def connect(self, asked: ConnectSink) -> r.ConnectedSink:
        self.agent.sink_key = asked.key
        return r.ConnectedSink(asked.url.partition("#")[0], "gpu", True)

    async def disconnect(self) -> r.DisconnectedSink:
        if not self.agent.sink_key:
            raise NotFound("this node has no sink", hint="edge-agent sink connect gives it one")
        self.agent.sink_key = ""
        return r.DisconnectedSink("https://192.0.2.7:8443", "gpu", 2, True)

    async def status(self) -> r.UplinkState:
        return self.agent.state.uplink

    async def egress(self, asked: EgressQuery) -> r.Egress:
        row = r.EgressRow("2026-11-22T09:59:58.000Z", "alert", "alert-abc", 61440, 212, "https://192.0.2.7:8443")
        return r.Egress([row][: asked.limit], r.EgressTotal(requests=1, up=61440, down=212, alerts=1))


class Upgrades(Resource):
    """`porch` is upgraded in three looks; `garage` goes back."""

    _looks = 0

    async def release(self) -> r.ReleaseState:
        versions = {"porch": "0.1.0", "ap": "0.2.0", "garage": "0.1.0"}
        nodes = [r.NodeVersion(n, f"id-{n}", v, v == "0.2.0") for n, v in versions.items()]
        return r.ReleaseState("0.2.0", "stable", 1, "2026-11-28T12:00:00Z", nodes)

    async def begin(self, node: str, asked: Upgrade) -> r.UpgradeState:
        self.agent.calls.append(("upgrade", node, asked.wait))
        return r.UpgradeState(node.removeprefix("id-"), node, "offered", "0.2.0", "0.1.0")

    async def state(self, node: str) -> r.UpgradeState:
        self._looks += 1
        name = node.removeprefix("id-")
        if name == "garage":
            return r.UpgradeState(name, node, "failed", "0.2.0", "0.1.0", "it went back", hint="see its log")
        if self._looks == 1:
            return r.UpgradeState(name, node, "fetching", "0.2.0", "0.1.0", "", 1 << 20, 4 << 20)
        return r.UpgradeState(name, node, "done", "0.2.0", "0.2.0")


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[MemoryAgent]:
    """The API of a MemoryAgent on `folder/a.sock`, stopped afterwards."""
    agent = MemoryAgent(Config(state=folder, run=folder / "a.sock", name="gpu"))
    task = asyncio.create_task(serve_api(agent.resources))
    try:
        while not agent.config.run.exists() and not task.done():
            await asyncio.sleep(0.005)
        yield agent
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error
