"""The facts that the checks read, gathered by the node; a field that is None is unknown and not checked."""

from __future__ import annotations

import msgspec

from agent.model.node import CameraInfo


class FailingStep(msgspec.Struct, frozen=True):
    """A step of this node that keeps failing: `streak` failed events, or failed starts, in a row."""

    pipeline: str
    step: str
    streak: int
    error: str
    started: bool = True
    hint: str = ""
    waiting: int = 0


class SourceFact(msgspec.Struct, frozen=True):
    """One source of this node; `unread` counts bytes that were rotated away before they were read, `gaps` the times of unknown size.

    `missing`: there is no such log now. `events` were found; `unrecognised` lines came since the last of them, the first of these
    `unrecognised_s` seconds ago. `dropped` are lines by reason, the last of them `dropped_s` seconds ago. `unheard` are senders
    of many lines without an event, beside others that have some. `hint` is the remedy where it is not `ok`. `strangers` are
    addresses that send to it, are not allowed, and that no operator decided about; the last heard first.
    """

    name: str
    ok: bool
    text: str = ""
    unread: int = 0
    strangers: list[str] = []
    gaps: int = 0
    missing: bool = False
    events: int = 0
    unrecognised: int = 0
    unrecognised_s: float = 0.0
    dropped: dict[str, int] = {}
    dropped_s: float = 0.0
    unheard: list[str] = []
    hint: str = ""


class LearningFact(msgspec.Struct, frozen=True):
    """A pipeline whose presence step still learns: the seconds that are left, and the devices that it has met."""

    pipeline: str
    left: float
    met: int


class Gone(msgspec.Struct, frozen=True):
    """A node, a camera or a source that is gone, and for how many seconds."""

    name: str
    seconds: float


class Facts(msgspec.Struct, kw_only=True):
    """A snapshot of this node and its mesh. Sizes in bytes, `free` shares in 0..1."""

    node: str
    state: str = ""
    disk_free: int | None = None
    disk_total: int | None = None
    operators: int | None = None
    backup: bool | None = None
    certificate_days: float | None = None
    nodes: int = 1
    sink_wanted: bool = False
    sink_connected: bool | None = None
    sink_error: str = ""
    clock_synchronised: bool | None = None
    cameras: list[CameraInfo] = []
    failing: list[FailingStep] = []
    sources: list[SourceFact] = []
    gpu_wanted: bool = False
    gpu_used: bool | None = None
    docker_wanted: bool = False
    docker_available: bool | None = None
    queue_open: int = 0
    queue_max: int | None = None
    blobs_bytes: int = 0
    blobs_quota: int | None = None
    pending: int = 0
    unlinked: list[str] = []
    strangers: list[str] = []
    steps_without_node: list[str] = []
    learning: list[LearningFact] = []
    gone: list[Gone] = []
    lost_cameras: list[Gone] = []
    lost_sources: list[Gone] = []
    images: dict[str, str] = {}
    """Images on their way to this node, in words, by their ids."""
