"""Events, traces of events, and log lines of steps."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent.api.results.base import Answer, Millis, NodeName, Size, Time
from agent.model.alert import Hop

Missed = Annotated[int, Meta(description="rows before this one that were lost: the reader or the network was too slow")]


class EventRow(Answer, kw_only=True):
    """A CloudEvent of the mesh."""

    specversion: str
    id: str
    source: str = ""
    type: str
    time: Time
    subject: str = ""
    datacontenttype: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    parent: Annotated[str, Meta(description="id of the event that this one follows from")] = ""
    root: Annotated[str, Meta(description="id of the root event")] = ""
    traceparent: str = ""
    pipeline: str = ""
    step: Annotated[str, Meta(description="the step that made it")] = ""
    node: Annotated[str, Meta(description="name of the node that made it")]
    omitted: Annotated[
        int, Meta(description="bytes of an event that was too long to pass on; it comes without data")
    ] = 0
    missed: Missed = 0


class LogRow(Answer, kw_only=True):
    """A line of a step's log."""

    node: NodeName
    time: Annotated[str, Meta(description="RFC 3339, UTC, by the clock of the node")]
    step: str
    line: str
    missed: Annotated[int, Meta(description="lines before this one that were lost on the node")] = 0
    stream: Annotated[str, Meta(description="stdout, stderr, or agent for a line of the agent")] = "stderr"
    event: Annotated[str, Meta(description="id of the event that the program had; empty between events")] = ""
    execution: Annotated[str, Meta(description="one life of the program: from its start to its end")] = ""


class TraceHop(Hop, omit_defaults=True):
    """One hop: its end in milliseconds since the root, and its running time."""

    end: Annotated[str, Meta(description="how the event ended, at the last hop")] = ""


class Branch(Answer):
    """How many events of the same root ended in this way at a step on a node."""

    step: str
    node: NodeName
    end: Annotated[str, Meta(description="the end of the event, or its state while it is open")]
    reason: str
    count: int


class TracePhoto(Answer):
    """A photo of the event."""

    name: str
    cid: str
    size: Size


class Trace(Answer):
    """The path of an alert or event from its root. `hops` are in order, from the step `line` on."""

    id: str
    root: str
    pipeline: str
    type: str
    time: Time
    complete: Annotated[bool, Meta(description="whether every event of the root has ended")]
    total_ms: Millis
    hops: list[TraceHop]
    branches: list[Branch]
    photos: list[TracePhoto]
    bytes_up: Annotated[int | None, Meta(description="bytes on the wire to the sink")] = None
