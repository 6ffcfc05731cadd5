"""The camera step: every camera of this node takes photos, and each goes on as soon as it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from agent.delivery import Emit, Made, Row, Work
from agent.errors import CameraError, StepFailed
from agent.model.event import BlobRef
from agent.model.keys import duration, key
from agent.model.node import NodeRecord
from agent.model.pipeline import Pipeline, Step
from agent.model.task import StepOutput, Task
from agent.steps.kind import EventKind
from agent.steps.parts import Parts, Photo

ABOUT_LABELS = ("zones", "min_area", "max_area")
"""Members of a photo's data that come from its camera alone."""
WIDTH = 4
"""Events that a node's cameras take at once."""


class CameraTask(Task, omit_defaults=True, frozen=True, kw_only=True):
    """Photos from every camera of the node: `shots` of them, `every` seconds apart."""

    policy: ClassVar[str] = "camera"
    shots: Annotated[int, key("photos a camera takes for an event", 2, ge=1, le=32)] = 1
    every: Annotated[float, duration("time between them", "2s", le=3600.0)] = 2.0
    cameras: Annotated[
        list[str],
        key("only these cameras; empty: every camera of the node", ["porch/front"], "a list of NODE/CAMERA or CAMERA"),
    ] = msgspec.field(default_factory=list)


class Camera(EventKind):
    """Takes photos."""

    name = "camera"
    task = CameraTask
    about = key("take photos with every camera of the node", {"shots": 2, "every": "2s"})
    pick = "all"

    def lacking(self, step: Step, nodes: Sequence[NodeRecord]) -> list[str]:
        """See StepKind."""
        known = {n.name: [c.name for c in n.cameras] for n in nodes}
        names = {name for cameras in known.values() for name in cameras}
        full = {f"{node}/{name}" for node, cameras in known.items() for name in cameras}
        if not names:
            return ["no live node that may run it has a camera; edge-agent camera add"]
        return [
            f"no live node that may run it has a camera {wanted}; cameras: {', '.join(sorted(full))}"
            for wanted in step.task_as(CameraTask).cameras
            if wanted not in names | full
        ]

    async def open(self, parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """See EventKind."""
        task = step.task_as(CameraTask)
        log = parts.log_of(pipeline.name, pipeline.version, step.name)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            here = parts.context.node_name
            wanted = {w.removeprefix(f"{here}/") for w in task.cameras}
            names = [n for n in parts.cameras.names() if not task.cameras or n in wanted]
            parts.programs.start_next(pipeline, step)
            results = await asyncio.gather(
                *(_shoot(parts, name, task, row, emit) for name in names), return_exceptions=True
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


def photo_data(node: str, name: str, shot: int, photo: Photo, about_labels: dict[str, Any]) -> dict[str, Any]:
    """The data that a camera adds to the event of a photo; `shot` counts from 0."""
    return {
        "camera": f"{node}/{name}",
        "node": node,
        "shot": shot,
        "width": photo.width,
        "height": photo.height,
    } | about_labels


async def _shoot(parts: Parts, name: str, task: CameraTask, row: Row, emit: Emit) -> None:
    node, shot = parts.context, 0

    async def taken(photo: Photo) -> None:
        nonlocal shot
        cid, size = await parts.writer.put(photo.jpeg)
        data = {k: v for k, v in row.event.data.items() if k not in ("blobs", *ABOUT_LABELS)}
        data |= photo_data(node.node_name, name, shot, photo, parts.cameras.about_labels(name))
        blob = BlobRef(f"{name}-{shot}.jpg", cid, "image/jpeg", size)
        await emit([(StepOutput("camera.photo", data, [blob]), (node.node_id, name, shot))])
        shot += 1

    await parts.cameras.shoot(name, task.shots, task.every, taken)


KINDS = (Camera(),)
