"""The state of a node and of its mesh."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.api.results.base import Answer, NodeName, PausedFor, Role, Seconds, Size, Time, Version
from agent.api.results.things import Sender
from agent.model.health import Warning


class Me(Answer):
    """This node."""

    id: str
    name: str
    role: Role
    labels: dict[str, str]
    boot: Annotated[str, Meta(description="differs after each start of the agent")]
    arch: str


class MeshState(Answer):
    """The mesh as this node sees it."""

    id: str
    operators: int
    pending: Annotated[int, Meta(description="nodes and labels that wait for this operator; 0 on other nodes")]
    listen: Annotated[str, Meta(description="host:port of the mesh")]
    enrol: Annotated[str, Meta(description="host:port where new nodes join")]


class Certificate(Answer):
    """How long a node's certificate is valid."""

    not_after: Time
    days_left: int


class NodeState(Answer):
    """One node of the mesh."""

    id: str
    name: str
    role: Role
    own: Annotated[bool, Meta(description="whether it is this node")] = msgspec.field(name="self")
    alive: bool
    linked: Annotated[bool, Meta(description="whether this node has a direct link to it")]
    version: str
    labels: dict[str, str]
    endpoints: list[str]
    seen_s: Annotated[float, Meta(description="seconds since its last record; 0 for this node")]


class NodeCamera(Answer):
    """A camera that a node announces; `ok` is about its last use."""

    name: str
    kind: str
    ok: bool
    worked: Annotated[bool, Meta(description="whether it gave a picture since it was added or its node started")] = True


class CameraState(Answer):
    """A camera of a live node."""

    node: NodeName
    name: str
    kind: str
    ok: bool
    text: Annotated[str, Meta(description="the error; only for cameras of this node")] = ""
    worked: Annotated[bool, Meta(description="whether it gave a picture since it was added or its node started")] = True


class SourceState(Answer):
    """A log that this node follows."""

    name: str
    ok: bool
    unread: Annotated[int, Meta(description="bytes that were rotated away unread")]
    text: Annotated[str, Meta(description="the error, else empty")]
    missing: Annotated[bool, Meta(description="whether there is no such log now")] = False
    lines: Annotated[int, Meta(description="lines read since the source started; estimated in a large backlog")] = 0
    bytes: Size = 0
    last: Annotated[str, Meta(description="RFC 3339, UTC; when the last line was read; empty before the first")] = ""
    events: Annotated[int, Meta(description="events found in its lines")] = 0
    last_event: Annotated[
        str, Meta(description="RFC 3339, UTC; when the last of them was found; empty before the first")
    ] = ""
    unrecognised: Annotated[int, Meta(description="lines since the last event")] = 0
    dropped: Annotated[dict[str, int], Meta(description="lines dropped, by reason")] = msgspec.field(
        default_factory=dict
    )
    cut: Annotated[int, Meta(description="lines that were too long and were cut")] = 0
    gaps: Annotated[int, Meta(description="times when an unknown number of bytes was rotated away unread")] = 0
    clock_s: Annotated[
        float | None,
        Meta(
            description="the log's clock minus this node's in seconds, both as local time; null before a line shows it"
        ),
    ] = None
    senders: Annotated[list[Sender], Meta(description="the 200 heard last, newest first")] = msgspec.field(
        default_factory=list
    )


class Ends(msgspec.Struct):
    """How many events of a step ended in which way."""

    delivered: int = 0
    skipped: int = 0
    deduplicated: int = 0
    suppressed: int = 0
    failed: int = 0
    expired: int = 0
    lost: int = 0


class StepFault(Answer):
    """A step that fails on another node."""

    node: NodeName
    state: str
    error: str
    hint: str = ""


class StepState(Answer):
    """A step with this node's counts: `accepted` is the sum of `ends` and `open`."""

    step: str
    kind: str
    where: str
    after: list[str]
    here: Annotated[bool, Meta(description="whether this node matches")]
    nodes: Annotated[list[str], Meta(description="names of the live nodes that match")]
    accepted: int
    open: int
    ends: Ends
    running: int
    run_ms: Annotated[float | None, Meta(description="mean of the last runs, in milliseconds")] = None
    error: Annotated[str, Meta(description="the last failure")] = ""
    failed_batches: Annotated[int, Meta(description="batches of lines on which every run of the filter failed")] = 0
    state: Annotated[
        Literal["idle", "starting", "ready", "not-started", "failing"],
        Meta(description="of the step on this node; not-started: its program could not be started and is tried again"),
    ] = "idle"
    hint: Annotated[str, Meta(description="the hint of the error")] = ""
    queued: Annotated[int, Meta(description="events that wait for the program on this node")] = 0
    elsewhere: Annotated[list[StepFault], Meta(description="other nodes on which it fails; with `node=*` only")] = (
        msgspec.field(default_factory=list)
    )
    lag_s: Annotated[float, Meta(description="seconds that the oldest event in the step's queue has waited")] = 0.0


class PipelineState(Answer):
    """An applied pipeline."""

    name: str
    version: Version
    steps: list[StepState]
    paused_s: PausedFor = None
    learning_s: Annotated[
        float,
        Meta(description="seconds for which its presence steps still learn; unknown devices do not arrive meanwhile"),
    ] = 0.0


class JournalState(Answer):
    """The sums over all steps of this node."""

    accepted: int
    open: int
    max_open: int
    ends: Ends
    unread: Annotated[int, Meta(description="bytes of logs that were rotated away unread")]
    durable: Annotated[bool, Meta(description="false where it is in memory: a power cut loses its open events")] = True
    in_memory: Annotated[
        int, Meta(description="events in memory: those that are open, and those that closed in the last minute")
    ] = 0


class Engines(Answer):
    """The programs that this node can run."""

    wasm: Annotated[str, Meta(description="name and version of the engine; empty where WASM is not allowed")]
    docker: Annotated[str, Meta(description="version of the Docker engine; empty where there is none")]
    process: bool
    gpu: bool


class BlobUsage(Answer):
    """How full this node's store of blobs is."""

    bytes: Size
    quota: Size
    count: int
    pinned: Annotated[int, Meta(description="blobs that are never evicted")]


class UplinkState(Answer):
    """The connection to the sink. Counts are since the start; `bytes_up` and `bytes_down` are the sums of the ledger."""

    configured: Annotated[bool, Meta(description="whether this or another live node has a sink")]
    connected: bool
    sink: Annotated[str, Meta(description="address; empty where this node has none")]
    waiting: Annotated[int, Meta(description="alerts that are not delivered yet")]
    waiting_bytes: Size
    oldest_s: Annotated[float, Meta(description="seconds that the oldest of them has waited")]
    last_error: Annotated[
        str, Meta(description="the last error of the connection to the sink; empty while the sink answers")
    ]
    delivered: int
    refused: int
    bytes_up: Size
    bytes_down: Size
    node: Annotated[str, Meta(description="name of a live node that has a sink; empty where none has")]
    last: Annotated[str, Meta(description="when the last alert was delivered, RFC 3339, UTC")] = ""
    error: Annotated[str, Meta(description="the same as last_error")] = ""


class LastEvent(Answer):
    """The newest event that this node made."""

    id: str
    type: str
    time: Time
    node: NodeName
    pipeline: str
    step: str
    age_s: Seconds


class LogUsage(Answer):
    """The logs of steps on this node."""

    bytes: Size
    lost: Annotated[
        int, Meta(description="lines that were lost since the start: the disk was full or failed, or a flood came")
    ]


class Video(Answer):
    """A V4L2 device that may be a camera."""

    source: Annotated[str, Meta(description="as `camera add` takes it")]
    text: Annotated[str, Meta(description="the name that its driver gives")]


class DeviceFacts(Answer):
    """The facts of the hardware and system under a node; what nothing says is left out."""

    arch: str
    engine: Annotated[str, Meta(description="the WASM engine that suits it")]
    system: Annotated[str, Meta(description="openwrt, unifi-ap, unifi-os or linux")]
    name: Annotated[str, Meta(description="the system's own name and version")] = ""
    model: str = ""
    processor: str = ""
    cores: int = 1
    neon: Annotated[bool | None, Meta(description="whether an ARM processor has NEON")] = None
    memory: Size = 0
    flash: Annotated[int, Meta(description="bytes of the file system for what must survive a power cut")] = 0
    init: Annotated[str, Meta(description="systemd, procd, openrc, busybox or sysv")] = ""
    libc: Annotated[str, Meta(description="glibc, musl or uclibc")] = ""
    log_source: Annotated[str, Meta(description="a path, journald or logread")] = ""
    gpus: int = 0
    radios: Annotated[list[str], Meta(description="its Wi-Fi radios")] = msgspec.field(default_factory=list)
    video: Annotated[list[Video], Meta(description="video devices, added as cameras or not")] = msgspec.field(
        default_factory=list
    )
    labels: Annotated[dict[str, str], Meta(description="the labels that follow from these facts")] = msgspec.field(
        default_factory=dict
    )


class Status(Answer):
    """The state of the whole mesh. `nodes` has this node first, then the live nodes, then the absent nodes, sorted by name."""

    version: str
    time: Time
    uptime_s: Seconds
    node: Me
    mesh: MeshState
    certificate: Certificate
    nodes: list[NodeState]
    cameras: list[CameraState]
    sources: list[SourceState]
    pipelines: list[PipelineState]
    journal: JournalState
    engines: Engines
    blobs: BlobUsage
    uplink: UplinkState
    warnings: Annotated[list[Warning], Meta(description="worst first; with `node=*` those of the other nodes too")]
    last_event: LastEvent | None = None
    logs: LogUsage | None = None
    device: DeviceFacts | None = None
    counted: Annotated[
        list[NodeName], Meta(description="with `node=*`: the nodes whose counts are in the sums of steps and journal")
    ] = msgspec.field(default_factory=list)


class Check(Answer):
    """A check that the agent made for `doctor`."""

    check: str
    state: Literal["ok", "info", "warn", "fail"]
    text: str
    remedy: str
