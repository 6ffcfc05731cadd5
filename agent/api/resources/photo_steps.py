"""The WASM steps behind a camera, tried on one photo: what they cannot use shows before an arrival does."""

from __future__ import annotations

import asyncio
import time

import msgspec

from agent.api import results
from agent.api.resources.common import ShownLog
from agent.blobs import BlobStore
from agent.cameras import Camera, Photo
from agent.delivery import DeliveryEngine, step_input
from agent.errors import CameraError, EdgeError
from agent.mesh import Mesh
from agent.model.event import BlobRef, Event, event_id, now
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run
from agent.model.task import StepOutput, WasmTask
from agent.steps import NodeSteps, photo_data

OWNER = "camera test"
LIMIT = 60.0
"""Seconds for one step."""


class PhotoSteps:
    """Gives a photo to the WASM steps of applied pipelines that a camera of this node feeds here."""

    def __init__(self, engine: DeliveryEngine[NodeSteps], mesh: Mesh, blobs: BlobStore) -> None:
        self._engine, self._mesh, self._blobs = engine, mesh, blobs
        self._busy = asyncio.Lock()

    def of(self, camera: str) -> list[tuple[Pipeline, Step]]:
        """The steps, each with its pipeline."""
        kinds, labels = self._engine.definitions.kinds, self._mesh.me.labels
        names = {camera, f"{self._mesh.me.name}/{camera}"}
        return [
            (pipeline, after)
            for pipeline in self._engine.definitions.current.values()
            for step in pipeline.steps
            if step.kind == "camera" and may_run(pipeline, step, labels)
            if not (only := step.task.get("cameras")) or names & set(only)
            for after in pipeline.children(step.name)
            if kinds.of(after).task is WasmTask and may_run(pipeline, after, labels)
        ]

    async def pass_on(self, name: str, camera: Camera, photo: Photo) -> list[results.PassedStep]:
        """The photo through each step; raises CameraError with the name of the step that cannot use it."""
        passed = []
        async with self._busy:
            try:
                for pipeline, step in self.of(name):
                    passed.append(await self._passed(pipeline, step, name, camera, photo))
            finally:
                self._blobs.unpin(OWNER)
        return passed

    async def _passed(
        self, pipeline: Pipeline, step: Step, name: str, camera: Camera, photo: Photo
    ) -> results.PassedStep:
        node, place, start = self._mesh.me.name, f"{pipeline.name}/{step.name}", time.perf_counter()
        cid, size = await self._blobs.put(photo.jpeg, owner=OWNER)
        blob = BlobRef(f"{name}-0.jpg", cid, "image/jpeg", size)
        data = {**photo_data(node, name, 0, photo, camera.about_labels), "blobs": [msgspec.to_builtins(blob)]}
        source = f"/{node}/{pipeline.name}/{step.after[0]}"
        event = Event(
            id=event_id(OWNER, now(), cid.encode()), source=source, type="camera.photo", time=now(), data=data
        )
        try:
            async with asyncio.timeout(LIMIT):
                outputs = await self._run(step, event)
        except (EdgeError, TimeoutError) as e:
            why = e.message if isinstance(e, EdgeError) else f"no answer within {LIMIT:g} s"
            raise CameraError(
                f"camera {name} gives a picture, but {place} cannot use it: {why}",
                hint=f"choose another picture format in the camera's settings; edge-agent logs {place}",
                code="camera.picture",
                camera=name,
            ) from e
        took = round((time.perf_counter() - start) * 1e3, 1)
        made = next((o for o in outputs if o.blobs), None)
        if made is None:
            return results.PassedStep(place, 0, 0, 0, took)
        return results.PassedStep(
            place, int(made.data.get("width", 0)), int(made.data.get("height", 0)), made.blobs[0].size, took
        )

    async def _run(self, step: Step, event: Event) -> list[StepOutput]:
        programs = self._engine.steps.parts.programs
        # Its log lines are those of a test: they are not kept.
        runner = await programs.runner(step.task_as(WasmTask), f"test-{step.name}", ShownLog())
        try:
            await runner.start()
            return list(await runner.run(step_input(event, lambda cid: str(self._blobs.path(cid)))))
        finally:
            await runner.close()
