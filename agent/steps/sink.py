"""The sink step: an event becomes an alert, which the uplink sends; the row ends when the sink has taken or refused it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from agent.delivery import Context, Emit, Made, Row, Work
from agent.errors import Refused, StepFailed
from agent.model.alert import Alert, AlertPhoto, alert_id
from agent.model.event import Event
from agent.model.pipeline import Pipeline, SinkTask, Step

WIDTH = 8
"""Events that are made into alerts at once."""
NEVER = frozenset({"uplink.too-large", "uplink.mac", "uplink.malformed"})
"""Codes with which the uplink refuses an alert for good: a retry, here or elsewhere, would end the same."""

Submit = Callable[[Alert], Awaitable[None]]


class SinkSteps:
    """Makes the work of sink steps, and knows the rows whose alerts are on their way."""

    def __init__(self, context: Context, mesh_id: str, submit: Submit) -> None:
        self.context = context
        self.mesh_id = mesh_id
        self.submit = submit
        self.alerts: dict[str, Row] = {}
        """Alerts on their way to the sink, by event id."""

    async def open(self, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        """The step's work."""
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

        return work, WIDTH

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
