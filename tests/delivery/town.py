"""Up to three real nodes in virtual time: real journals on tmpfs, real delivery and steps; programs, cameras, sink are doubles.

Everything that is random comes from one seed, so a run repeats exactly.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from agent.delivery import Context, Deciders, DeliveryEngine, Journal
from agent.errors import BlobError, CameraError, Refused, StepFailed, Unreachable
from agent.executors import NoLog, Policy
from agent.model.alert import Alert
from agent.model.event import BlobRef, event_id
from agent.model.pipeline import Pipeline
from agent.model.task import DockerTask, ProcessTask, StepInput, StepOutput, WasmTask
from agent.steps import KINDS, Alerts, DeviceRecords, Logs, NodeSteps, Parts, StepPrograms
from tests.doubles import CLOCK, Disk, MemoryBlobs, SimulatedMesh, SimulatedNet, SimulatedStorage, VirtualLoop, Weather
from tests.support import load_pipeline

TEXT = """\
version: 1
name: walk
steps:
  log:
    tail: auto
    where: log=true
    wasm: {module: filters/wifi-join.wasm}
  arrived:
    after: log
    presence: {away: 20s, learn: 0s}
    deadline: 60s
  photos:
    after: arrived
    where: camera=true
    camera: {shots: 2, every: 500ms}
    deadline: 40s
  small:
    after: photos
    wasm: {module: filters/rescale.wasm}
    deadline: 60s
    attempts: 2
  labels:
    after: small
    docker: {image: edge/detector:1}
    where: docker=true
    prefer: gpu=true
    deadline: 80s
  alert:
    after: labels
    when: "data.n > `0`"
    cooldown: {key: [root, data.camera], for: 5m}
    sink: {photo: labelled}
    deadline: 90s
  count:
    after: log
    dedupe: {key: data.mac, for: 30s}
    process: {command: [/bin/count]}
    where: docker=true
    deadline: 50s
  far:
    after: log
    process: {command: [/bin/far]}
    where: gpu=true
    deadline: 50s
  note:
    after: count
    sink: {photo: none}
    deadline: 70s
  tell:
    after: log
    dedupe: {key: data.mac, for: 10s}
    pick: all
    process: {command: [/bin/tell]}
    deadline: 30s
    attempts: ATTEMPTS
  here:
    after: [log, tell]
    pick: here
    process: {command: [/bin/here]}
    deadline: 45s
    attempts: 2
keep: {matched: 1h, unmatched: 0}
"""
LABELS = {
    "a": {"log": "true", "camera": "true", "docker": "true"},
    "b": {"camera": "true", "docker": "true", "gpu": "true", "uplink": "true"},
    "c": {"log": "true", "docker": "true", "uplink": "true"},
}
CAMERAS = {"a": ["door"], "b": ["yard"]}
PARENTS = {"log": ("a", "c"), "arrived": ("a", "b", "c"), "photos": ("a", "b"), "small": ("a", "b")}
"""Steps whose events a walk makes by hand, and the nodes that may make them."""
_OWNER: contextvars.ContextVar[Start | None] = contextvars.ContextVar("_OWNER", default=None)


@dataclass
class Trouble:
    """Faults of programs, cameras and the sink. Shares of all tries; times in seconds."""

    fails: float = 0.0
    fails_for_good: float = 0.0
    cannot_run: float = 0.0
    breaks: float = 0.0
    """An error that is not the step's own."""
    cannot_start: float = 0.0
    sink_refuses: float = 0.0
    """Half of them for good."""
    slowest: float = 0.0
    """Longest run, and longest time that an alert waits in the spool."""


class Start:
    """One start of one node, up to its death: all tasks that it made end with it."""

    def __init__(self) -> None:
        self.dead = False
        self.tasks: dict[asyncio.Task[Any], None] = {}

    def die(self) -> None:
        self.dead = True
        for task in list(self.tasks):
            task.cancel()


@cache
def pipeline(attempts: int) -> Pipeline:
    """The town's pipeline; each number of attempts is a version."""
    return load_pipeline(TEXT.replace("ATTEMPTS", str(attempts)))


def _make_task(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(coro, loop=loop, **options)
    context = options.get("context")
    owner = context.get(_OWNER) if context is not None else _OWNER.get()
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(lambda done: owner.tasks.pop(done, None))
        if owner.dead:
            task.cancel()
    return task


class Program:
    """Answers each event with outputs that depend on the event alone, unless there is trouble."""

    def __init__(self, town: Town, node: str, kind: str, step: str) -> None:
        self.town, self.node, self.kind, self.step = town, node, kind, step
        self.in_flight = 2

    async def start(self) -> None:
        await self.town.run_time()
        if self.town.happens(self.town.trouble.cannot_start):
            raise self.town.random.choice(
                [Refused("the owner refuses it", code="policy"), StepFailed("it does not start")]
            )

    async def close(self) -> None: ...

    async def run(self, item: StepInput) -> list[StepOutput]:
        trouble, event = self.town.trouble, item.event
        await self.town.run_time()
        if self.town.happens(trouble.cannot_run):
            raise Unreachable("the engine is away")
        for share, error in (
            (trouble.fails_for_good, StepFailed("bad input", final=True)),
            (trouble.fails, StepFailed("it broke")),
            (trouble.breaks, BlobError("the disk has a bad day")),
        ):
            if self.town.happens(share):
                self.town.watch.failures[event.id, self.step] += 1
                raise error
        data = {k: v for k, v in event.data.items() if k != "blobs"}
        blobs = [BlobRef(b.name, b.cid, b.type, b.size) for b in item.blobs]
        many = outputs_of(event.id)
        self.town.watch.ran(self.node, event)
        return [StepOutput(f"{self.kind}.made", {**data, "n": (i + many) % 3}, blobs) for i in range(many)]


def outputs_of(event: str) -> int:
    """How many outputs a program has for the event: mostly one, sometimes none or two."""
    return (1, 1, 2, 1, 0, 2, 1, 1)[int(event_id("outputs", event), 36) % 8]


class Executors:
    def __init__(self, town: Town, node: str) -> None:
        self.town, self.node = town, node

    def runner(self, task: Any, name: str, log: Any, module: Path | None) -> Program:
        kinds = {WasmTask: "wasm", DockerTask: "docker", ProcessTask: "process"}
        return Program(self.town, self.node, kinds[type(task)], name.removeprefix("walk-"))


class Photo:
    width, height = 4, 3

    def __init__(self, jpeg: bytes) -> None:
        self.jpeg = jpeg


class Cameras:
    def __init__(self, town: Town, node: str) -> None:
        self.town, self.node = town, node

    def about_labels(self, name: str) -> dict[str, Any]:
        return {}

    def names(self) -> list[str]:
        return CAMERAS.get(self.node, [])

    async def shoot(self, name: str, shots: int, every: float, taken: Callable[[Any], Any]) -> None:
        for _ in range(shots):
            await self.town.run_time()
            if self.town.happens(self.town.trouble.fails):
                raise CameraError(f"{name} is dark")
            self.town.shots += 1
            await taken(Photo(f"{name} {self.town.shots}".encode()))
            await asyncio.sleep(every)


class TownNode:
    """One node: its disk outlives its deaths."""

    def __init__(self, town: Town, name: str) -> None:
        self.town, self.name = town, name
        self.disk = Disk(town.path / f"{name}.db", random=Random(town.random.random()))
        self.disk.on_death = self.kill
        self.disk.on_commit = lambda db, idle: town.watch.committed(self, db, idle)
        self.data: dict[str, bytes] = {}
        self.spool: dict[str, str] = {}
        """The uplink's alerts by id: waiting, delivered or refused. On the disk."""
        self.offset = town.random.uniform(-1e5, 1e6)
        self.deaths = 0
        self.up = False
        self.since = 0.0
        """Loop time of the last start."""
        self.down_for = 1.0
        self.task: asyncio.Task[None] | None = None

    def now(self) -> float:
        """This node's own clock."""
        return self.town.loop.time() + self.offset

    def boot(self) -> None:
        """Start from the disk, in the node's own context."""
        if self.up:
            return
        self.start = Start()
        self.context = contextvars.copy_context()
        self.context.run(CLOCK.set, self.offset)
        self.context.run(_OWNER.set, self.start)
        self.context.run(self._boot)

    def _boot(self) -> None:
        town = self.town
        self.up, self.since = True, town.loop.time()
        town.disturbed = self.since
        self.mesh = SimulatedMesh(town.net, self.name, LABELS[self.name], f"boot-{self.deaths}", self.context)
        self.blobs = MemoryBlobs(self.data)
        self.storage = SimulatedStorage(self.disk)
        journal = Journal(
            self.disk.path,
            max_open=town.max_open,
            storage=self.storage,
            **({} if town.rests else {"recent_rows": 1, "rest": 0.0}),
        )
        self.p = DeliveryEngine(
            self.name, self.name, self.mesh, journal, self.blobs, self._fetch, self._steps, kinds=KINDS
        )
        self.p.load()
        town.watch.attach(self)
        self.p.definitions.apply("walk", msgspec.json.encode(town.pipeline))
        town.net.join(self.mesh)
        self.task = asyncio.create_task(self.p.run())
        for ident, state in self.spool.items():
            if state == "waiting":
                town.loop.call_later(town.random.uniform(0.0, town.trouble.slowest), self._leave, self.start, ident)

    def _steps(self, context: Context, deciders: Deciders) -> NodeSteps:
        programs = StepPrograms(context, Executors(self.town, self.name), self._path, lambda *_: NoLog())  # type: ignore[arg-type]
        programs.module = self._module  # type: ignore[method-assign]
        parts = Parts(
            context=context,
            mesh_id="mesh",
            policy=Policy(process=True),
            programs=programs,
            cameras=Cameras(self.town, self.name),
            devices=DeviceRecords(deciders),
            alerts=Alerts(context, self._submit),
            writer=self.blobs,  # type: ignore[arg-type]
            log_of=lambda *_: NoLog(),
            logs=Logs([], Path()),
        )
        return NodeSteps(parts)

    def kill(self) -> None:
        """The power fails; it comes back after `down_for` seconds."""
        if self.up:
            self.up = False
            self.deaths += 1
            self.town.disturbed = self.town.loop.time()
            self.storage.die()
            self.town.net.leave(self.mesh)
            self.start.die()
            self.town.watch.died(self)
            self.town.loop.call_later(self.down_for, self.boot, context=self.town.context)

    def close(self) -> None:
        """Stop for good, with what was handed in written."""
        if self.up:
            self.up = False
            self.start.die()
            self.p.journal.close()

    def apply(self) -> None:
        """The newest definition arrives."""
        if self.up:
            self.context.run(self.p.definitions.apply, "walk", msgspec.json.encode(self.town.pipeline))

    async def trigger(self, parent: str, ident: str, mac: str) -> None:
        """Make an event as if the step had made it; it is accepted when this returns."""
        if not self.up:
            return
        data: dict[str, Any] = {"mac": mac, "interface": "wlan0", "camera": "door", "n": 1}
        if parent in ("photos", "small"):
            photo = f"photo {ident}".encode()
            cid, size = await self.blobs.put(photo)
            data["blobs"] = [{"name": "photo.jpg", "cid": cid, "type": "image/jpeg", "size": size}]
        kind = "wifi.client.joined" if parent == "log" else f"{parent}.made"
        trigger = self.p.trigger(self.p.definitions.current["walk"], parent, kind, data, event_id("walk", ident))
        task = asyncio.get_running_loop().create_task(trigger, context=self.context)
        await asyncio.wait({task}, timeout=5.0)
        if task.done() and not task.cancelled():
            self.town.accepted.append((task.result(), parent, self.name))

    # -- what the steps need ------------------------------------------------------------------------------------------

    async def _module(self, cid: str) -> Path:
        return Path("/dev/null")

    def _path(self, cid: str) -> Path:
        if cid not in self.data:
            self.town.watch.wrong(f"{self.name}: a step runs and blob {cid} of its event is not here")
        return Path("/dev/null")

    async def _fetch(self, cid: str, holders: list[str], timeout: float, size: int | None) -> None:
        await self.town.net.pass_by()
        for holder in holders:
            if self.town.net.reaches(self.name, holder) and cid in self.town.nodes[holder].data:
                self.data[cid] = self.town.nodes[holder].data[cid]
                return
        raise BlobError(f"{cid}: no holder")

    async def _submit(self, alert: Alert) -> None:
        ident = alert.event.id
        await self.town.run_time()
        if self.town.happens(self.town.trouble.sink_refuses):
            raise Refused("no", code=self.town.random.choice(["uplink.full", "uplink.too-large"]))
        self.town.submits[ident] += 1
        self.spool.setdefault(ident, "waiting")
        delay = 0.0 if self.spool[ident] != "waiting" else self.town.random.uniform(0.0, self.town.trouble.slowest)
        self.town.loop.call_later(delay, self._leave, self.start, ident)

    def _leave(self, start: Start, ident: str) -> None:
        """An alert leaves the spool: the sink has it, or refuses it for good."""
        if start.dead:
            return
        if self.spool[ident] == "waiting":
            refused = self.town.happens(self.town.trouble.sink_refuses)
            self.spool[ident] = "refused" if refused else "delivered"
            if not refused:
                self.town.alerts[ident] += 1
        if self.spool[ident] == "refused":
            self.p.steps.parts.alerts.refused(ident, "the sink refuses it")
        else:
            self.p.steps.parts.alerts.delivered(ident)


@dataclass
class Town:
    """The nodes, the sink, and what happened."""

    loop: VirtualLoop
    path: Path
    seed: int
    watch: Any
    names: str = "abc"
    weather: Weather = field(default_factory=Weather)
    trouble: Trouble = field(default_factory=Trouble)
    max_open: int = 10_000
    rests: bool = True
    """Whether closed rows stay in memory for a while."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.loop.set_task_factory(_make_task)
        self.context = contextvars.copy_context()
        self.net = SimulatedNet(Random(self.seed + 1), self.weather)
        self.attempts = 3
        self.pipeline = pipeline(self.attempts)
        self.alerts: Counter[str] = Counter()
        """Alerts that the sink got, by id."""
        self.submits: Counter[str] = Counter()
        self.accepted: list[tuple[str, str, str]] = []
        """Events that nodes accepted: id, step, node."""
        self.shots = 0
        self.skipped = 0.0
        """Loop time at which all nodes stood still for a while."""
        self.lossy = bool(self.weather.lose_answer or self.weather.repeat)
        self.cuts = 0
        self.disturbed = 0.0
        """Loop time of the last death, start, cut or heal."""
        self.watch.town = self
        self.nodes = {name: TownNode(self, name) for name in self.names}

    @property
    def tells_once(self) -> bool:
        """Whether no answer was lost: a failure that is reported again for that may be counted again."""
        return not (self.lossy or self.cuts or any(node.deaths for node in self.nodes.values()))

    def smooth_for(self) -> float:
        """For how many seconds nothing has disturbed the nodes and their messages."""
        w = self.net.weather
        if w.lose_request or w.lose_answer or w.busy or self.net.cut:
            return 0.0
        return self.loop.time() - max(self.skipped, self.disturbed) - w.notice

    def happens(self, share: float) -> bool:
        """Whether this try is among them."""
        return share > 0.0 and self.random.random() < share

    async def run_time(self) -> None:
        """The time that one run of something takes."""
        await asyncio.sleep(self.random.uniform(0.0, self.trouble.slowest))

    def upgrade(self) -> None:
        """Apply another version of the pipeline; each node gets it a while later."""
        self.attempts = 5 - self.attempts
        self.pipeline = pipeline(self.attempts)
        for node in self.nodes.values():
            self.loop.call_later(self.random.uniform(0.0, 1.0), node.apply)

    def calm(self) -> None:
        """End all trouble: links heal, the dead start, and nothing goes wrong any more."""
        self.net.weather = self.weather = Weather(slowest=0.01, notice=0.1)
        self.trouble = Trouble(slowest=0.02)
        self.net.cut.clear()
        self.disturbed = self.loop.time()
        for node in self.nodes.values():
            node.disk.die_at = 0
            node.disk.slowest = 0.001
            node.boot()
        for node in self.nodes.values():
            self.net.change(node.name)

    def quiet(self) -> bool:
        """Whether everything has ended, is closed and is told."""
        return all(
            row.closed and all(known == 2 for known in row.claims.values())
            for node in self.nodes.values()
            if node.up
            for row in node.p.journal.rows.values()
        )

    def close(self) -> None:
        for node in self.nodes.values():
            node.close()


class Ear(logging.Handler):
    """Hears what the agent logs as an error: in a walk nothing should be one."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        why = record.exc_info[1] if record.exc_info else ""
        self.tell(f"logged: {record.getMessage()} {why!r}")
