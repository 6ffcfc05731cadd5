"""The sink step: an event becomes an alert, which the uplink sends; the row ends when the sink has taken or refused it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from agent.delivery import Emit, Made, Row, Work
from agent.model.alert import Alert, AlertPhoto, alert_id
from agent.model.event import Event
from agent.model.keys import key
from agent.model.pipeline import DAY, Pipeline, Step
from agent.model.task import Task
from agent.steps.kind import EventKind
from agent.steps.parts import Parts

WIDTH = 8
"""Events that are made into alerts at once."""


class SinkTask(Task, frozen=True, omit_defaults=True, kw_only=True):
    """Send an alert to the sink; `photo` names the photo that goes with it."""

    photo: Annotated[Literal["labelled", "none"], key("the photo that leaves", "labelled")] = "labelled"


class Sink(EventKind):
    """Sends alerts to the sink."""

    name = "sink"
    task = SinkTask
    about = key("send an alert to the sink", {"photo": "labelled"})
    where = "uplink=true"
    deadline = 7 * DAY
    is_alert = True

    async def open(self, parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """See EventKind."""
        task = step.task_as(SinkTask)

        async def work(row: Row, step: Step, emit: Emit) -> list[Made] | None:
            await parts.alerts.send(row, await _alert(parts, pipeline, step, task, row))
            return None

        return work, WIDTH


async def _alert(parts: Parts, pipeline: Pipeline, step: Step, task: SinkTask, row: Row) -> Alert:
    """The alert that leaves for this row; its id is the same wherever and however often it is made."""
    context = parts.context
    photos: list[AlertPhoto] = []
    if task.photo == "labelled":
        for blob in row.event.blobs()[:1]:
            content = await context.blobs.read(blob.cid)
            photos.append(AlertPhoto(blob.name, blob.cid, blob.type, blob.size, content))
    made: dict[str, Any] = msgspec.to_builtins(row.event)
    made["id"] = alert_id(pipeline.version, step.name, row.event.id)
    made["parent"] = row.event.id
    made["source"] = f"/{context.node_id}/{pipeline.name}/{step.name}"
    made["step"] = step.name
    context.lifecycle.reached_sink(row, step.name, context.node_name)
    return Alert(
        mesh=parts.mesh_id,
        node=context.node_id,
        event=msgspec.convert(made, Event),
        trace=list(row.trace),
        photos=photos,
    )


KINDS = (Sink(),)
