"""What each kind of step does with one event on this node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from agent.delivery import Context, Emit, Made, Row, Work, step_input
from agent.errors import BlobError, CameraError, EdgeError, Refused, StepFailed, Unreachable
from agent.model.alert import Alert, AlertPhoto, alert_id
from agent.model.event import BlobRef, Event
from agent.model.pipeline import Pipeline, SinkTask, Step
from agent.model.task import BlobWriter, CameraTask, DockerTask, LogSink, ProcessTask, Runner, StepOutput, WasmTask
from agent.steps.presence import Presence

log = logging.getLogger(__name__)

FETCH_TIMEOUT = 60.0
NEVER = frozenset({"uplink.too-large", "uplink.mac", "uplink.malformed"})
"""Codes with which the uplink refuses an alert for good: another try, here or elsewhere, would end the same."""


class Photo(Protocol):
    """One photo of a camera."""

    jpeg: bytes
    width: int
    height: int


class Cameras(Protocol):
    """The cameras of this node."""

    def names(self) -> list[str]: ...
    async def shoot(self, name: str, shots: int, every: float, taken: Callable[[Any], Awaitable[None]]) -> None: ...


class Engines(Protocol):
    """The programs that this node can run; each raises Refused where the owner's policy or the host says no."""

    def wasm(self, module: Path, task: WasmTask) -> Runner: ...
    def docker(self, task: DockerTask, name: str) -> Runner: ...
    def process(self, task: ProcessTask) -> Runner: ...


Submit = Callable[[Alert], Awaitable[None]]


class Workshop:
    """Makes the work of a step; the runners that it made are closed with it."""

    def __init__(
        self,
        context: Context,
        *,
        mesh_id: str,
        engines: Engines,
        cameras: Cameras | None,
        presence: Presence,
        path_of: Callable[[str], Path],
        writer: BlobWriter,
        submit: Submit,
        log_to: Callable[[str, str, str], None],
    ) -> None:
        self.context = context
        self.mesh_id = mesh_id
        self.engines = engines
        self.cameras = cameras
        self.presence = presence
        self.path_of = path_of
        self.writer = writer
        self.submit = submit
        self.log_to = log_to
        self.alerts: dict[str, Row] = {}
        """Alerts on their way to the sink, by event id."""
        self._runners: dict[tuple[str, str, str], Runner] = {}
        self._stirring: set[asyncio.Task[None]] = set()

    async def make(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work and how many events it takes at once; raises Refused, Unreachable or StepFailed."""
        match step.kind:
            case "camera":
                return self._camera(pipeline, step), 4
            case "presence":
                return self._presence(pipeline, step), 16
            case "sink":
                return self._sink(pipeline, step), 8
            case "wasm" | "docker" | "process":
                return await self._program(pipeline, step)
            case _:
                raise Refused(f"{step.kind} takes no events", hint="only sources have this kind")

    async def stop(self, key: tuple[str, str, str]) -> None:
        """Stop the program of (pipeline, version, step), if it has one; what it cannot close is logged."""
        runner = self._runners.pop(key, None)
        if runner is None:
            return
        try:
            await runner.close()
        except Exception:
            log.exception("%s/%s: the program could not be stopped", key[0], key[2])

    async def close(self) -> None:
        """Stop every program."""
        for task in self._stirring:
            task.cancel()
        await asyncio.gather(*self._stirring, return_exceptions=True)
        await asyncio.gather(*(self.stop(key) for key in list(self._runners)))

    # -- programs -----------------------------------------------------------------------------------------------------

    async def _program(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        task = step.task_of()
        name = f"{pipeline.name}-{step.name}"
        if isinstance(task, WasmTask):
            runner = self.engines.wasm(await self.module(task.module), task)
        elif isinstance(task, DockerTask):
            runner = self.engines.docker(task, name)
        else:
            runner = self.engines.process(task)
        await runner.start()
        self._runners[pipeline.name, pipeline.version, step.name] = runner
        sink = self.log_sink(pipeline, step)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            try:
                item = step_input(row.event, lambda cid: str(self.path_of(cid)))
            except BlobError as e:
                raise StepFailed(f"a blob of the event is not here: {e.message}") from None
            return [(output, ()) for output in await runner.run(item, sink)]

        return work, max(1, runner.in_flight)

    async def module(self, cid: str) -> Path:
        """The module's file, fetched from whoever has it; raises Unreachable."""
        if not self.context.blobs.has(cid):
            holders = [n.id for n in self.context.mesh.live() if n.id != self.context.node_id]
            try:
                await self.context.fetch(cid, holders, FETCH_TIMEOUT, None)
            except BlobError as e:
                raise Unreachable(
                    f"module {cid} is nowhere to be had: {e.message}", hint="apply the pipeline again"
                ) from None
        self.context.blobs.pin(cid, f"module:{cid}")
        return self.path_of(cid)

    def log_sink(self, pipeline: Pipeline, step: Step) -> LogSink:
        """Where the step's stderr goes."""
        return lambda line: self.log_to(pipeline.name, step.name, line)

    # -- built-in steps -----------------------------------------------------------------------------------------------

    def _camera(self, pipeline: Pipeline, step: Step) -> Work:
        task: CameraTask = step.task_of()

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            if self.cameras is None:
                raise StepFailed("this node has no cameras", hint="edge-agent camera add NAME SOURCE")
            names = [n for n in self.cameras.names() if not task.cameras or n in task.cameras]
            self._stir(pipeline, step)
            results = await asyncio.gather(
                *(self._shoot(name, task, row, emit) for name in names), return_exceptions=True
            )
            errors = [r for r in results if isinstance(r, BaseException)]
            for error in errors:
                if not isinstance(error, CameraError):
                    raise error
                self.log_to(pipeline.name, step.name, error.message)
            if errors and len(errors) == len(names):
                raise StepFailed("; ".join(str(e) for e in errors))
            return []

        return work

    def _stir(self, pipeline: Pipeline, step: Step) -> None:
        """Have the WASM programs of the next steps ready when the photo is: they may have gone to rest."""
        for after in pipeline.children(step.name):
            runner = self._runners.get((pipeline.name, pipeline.version, after.name))
            if runner is not None and after.kind == "wasm":
                task = asyncio.create_task(_ready(runner), name=f"stir {pipeline.name}/{after.name}")
                self._stirring.add(task)
                task.add_done_callback(self._stirring.discard)

    async def _shoot(self, name: str, task: CameraTask, row: Row, emit: Emit) -> None:
        assert self.cameras is not None
        shot = 0

        async def taken(photo: Photo) -> None:
            nonlocal shot
            cid, size = await self.writer.put(photo.jpeg)
            data = {k: v for k, v in row.event.data.items() if k != "blobs"}
            data |= {
                "camera": name,
                "node": self.context.node_name,
                "shot": shot,
                "width": photo.width,
                "height": photo.height,
            }
            blob = BlobRef(f"{name}-{shot}.jpg", cid, "image/jpeg", size)
            await emit([(StepOutput("camera.photo", data, [blob]), (self.context.node_id, name, shot))])
            shot += 1

        await self.cameras.shoot(name, task.shots, task.every, taken)

    def _presence(self, pipeline: Pipeline, step: Step) -> Work:
        task = step.task_of()
        scope = f"{pipeline.name}/{step.name}"

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            found = await self.presence.see(scope, task, row.event)
            return [(StepOutput(kind, data), ()) for kind, data in found]

        return work

    def _sink(self, pipeline: Pipeline, step: Step) -> Work:
        task: SinkTask = step.task_of()

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            alert = await self.alert(pipeline, step, task, row)
            self.alerts[alert.event.id] = row
            try:
                await self.submit(alert)
            except Refused as e:
                self.alerts.pop(alert.event.id, None)
                if e.code in NEVER:
                    raise StepFailed(e.message, hint=e.hint, code=e.code, final=True) from None
                raise
            except BaseException:
                self.alerts.pop(alert.event.id, None)
                raise
            return None

        return work

    async def alert(self, pipeline: Pipeline, step: Step, task: SinkTask, row: Row) -> Alert:
        """The alert that leaves for this row; its id is the same wherever and however often it is made."""
        photos: list[AlertPhoto] = []
        if task.photo == "labelled":
            for blob in row.event.blobs()[:1]:
                content = await self.context.blobs.read(blob.cid)
                photos.append(AlertPhoto(blob.name, blob.cid, blob.type, blob.size, content))
        made: dict[str, Any] = msgspec.to_builtins(row.event)
        made["id"] = alert_id(pipeline.version, step.name, row.event)
        made["parent"] = row.event.id
        made["source"] = f"/{self.context.node_id}/{pipeline.name}/{step.name}"
        made["step"] = step.name
        self.context.lifecycle.reached_sink(row, step.name, self.context.node_name)
        return Alert(
            mesh=self.mesh_id,
            node=self.context.node_id,
            event=msgspec.convert(made, Event),
            trace=list(row.trace),
            photos=photos,
        )

    def delivered(self, ident: str) -> None:
        """The sink has the alert."""
        row = self.alerts.pop(ident, None)
        if row is not None:
            self.context.apply(self.context.lifecycle.ended(row, "delivered", matched=True))

    def refused(self, ident: str, reason: str) -> None:
        """The sink will never take the alert."""
        row = self.alerts.pop(ident, None)
        if row is not None:
            self.context.apply(self.context.lifecycle.ended(row, "failed", reason, final=True))


async def _ready(runner: Runner) -> None:
    try:
        await runner.start()
    except (EdgeError, OSError) as e:
        log.debug("the next step is not ready: %s", e)  # its first event meets the same, and says so
