"""The camera step: every camera of this node takes photos, and each goes on as soon as it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from agent.delivery import Context, Emit, Made, Row, Work
from agent.errors import CameraError, StepFailed
from agent.model.event import BlobRef
from agent.model.pipeline import Pipeline, Step
from agent.model.task import BlobWriter, CameraTask, LogOf, StepOutput
from agent.steps.program import ProgramSteps

WIDTH = 4
"""Events that a node's cameras take at once."""


class Photo(Protocol):
    """One photo of a camera."""

    jpeg: bytes
    width: int
    height: int


class Cameras(Protocol):
    """The cameras of this node."""

    def names(self) -> list[str]: ...
    async def shoot(self, name: str, shots: int, every: float, taken: Callable[[Any], Awaitable[None]]) -> None: ...


@dataclass(eq=False)
class CameraSteps:
    """Makes the work of camera steps."""

    context: Context
    cameras: Cameras | None
    writer: BlobWriter
    programs: ProgramSteps
    log_of: LogOf

    async def open(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work."""
        task: CameraTask = step.task_of()
        log = self.log_of(pipeline.name, pipeline.version, step.name)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            if self.cameras is None:
                raise StepFailed("this node has no cameras", hint="edge-agent camera add NAME SOURCE")
            names = [n for n in self.cameras.names() if not task.cameras or n in task.cameras]
            self.programs.start_next(pipeline, step)
            results = await asyncio.gather(
                *(self._shoot(self.cameras, name, task, row, emit) for name in names), return_exceptions=True
            )
            errors = [r for r in results if isinstance(r, BaseException)]
            for error in errors:
                if not isinstance(error, CameraError):
                    raise error
                log.line(error.message, "agent", row.event.id)
            if errors and len(errors) == len(names):
                raise StepFailed("; ".join(str(e) for e in errors))
            return []

        return work, WIDTH

    async def _shoot(self, cameras: Cameras, name: str, task: CameraTask, row: Row, emit: Emit) -> None:
        shot = 0

        async def taken(photo: Photo) -> None:
            nonlocal shot
            cid, size = await self.writer.put(photo.jpeg)
            data = {k: v for k, v in row.event.data.items() if k != "blobs"} | {
                "camera": name, "node": self.context.node_name, "shot": shot, "width": photo.width, "height": photo.height,
            }  # fmt: skip
            blob = BlobRef(f"{name}-{shot}.jpg", cid, "image/jpeg", size)
            await emit([(StepOutput("camera.photo", data, [blob]), (self.context.node_id, name, shot))])
            shot += 1

        await cameras.shoot(name, task.shots, task.every, taken)
