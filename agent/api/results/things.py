"""Devices, cameras, blobs, the ledger of the uplink, and the configuration."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent.api.results.base import Answer, Millis, NodeName, Size, Time


class Device(Answer):
    """A phone or laptop on the Wi-Fi."""

    id: Annotated[str, Meta(description="its MAC")]
    known: Annotated[bool, Meta(description="whether an operator marked it as known")]
    private: Annotated[bool, Meta(description="whether the device uses a random MAC")]
    present: bool
    first_seen: Time
    last_seen: Time
    name: str = ""
    node: Annotated[str, Meta(description="name of the node that heard it last")] = ""
    access_point: Annotated[str, Meta(description="the access point where it was heard last")] = ""
    interface: Annotated[str, Meta(description="the interface there, where its line names one")] = ""
    addresses: Annotated[list[str], Meta(description="further MACs that were merged into it")] = msgspec.field(
        default_factory=list
    )


class Learning(Answer):
    """A presence step and how long it still learns: unknown devices are met meanwhile, and do not arrive."""

    pipeline: str
    step: str
    learn_s: Annotated[float, Meta(description="seconds of running time that it learns in all")]
    left_s: Annotated[float, Meta(description="seconds that are left; 0: it has learned")]
    stopped: Annotated[bool, Meta(description="whether an operator ended it")]
    met: Annotated[int, Meta(description="devices that it has met, as counted last")] = 0


class Sender(Answer):
    """A device that sends lines to a receiver of a node."""

    address: str
    allowed: Annotated[bool, Meta(description="whether its lines are read now")]
    decided: Annotated[bool, Meta(description="whether an operator's decision says so")]
    lines: Annotated[int, Meta(description="lines read since the source started")]
    bytes: Size
    last: Annotated[str, Meta(description="RFC 3339, UTC; when it sent its last message")]
    dropped: Annotated[dict[str, int], Meta(description="messages dropped, by reason")] = msgspec.field(
        default_factory=dict
    )
    sample: Annotated[str, Meta(description="the beginning of its last message")] = ""
    events: Annotated[int, Meta(description="events found in its lines")] = 0
    last_event: Annotated[
        str, Meta(description="RFC 3339, UTC; when the last of them was found; empty before the first")
    ] = ""


class Source(Answer):
    """A log that a live node follows, or a receiver of logs."""

    node: NodeName
    pipeline: str
    step: str
    name: str
    ok: bool
    text: Annotated[str, Meta(description="the error, else empty")] = ""
    senders: Annotated[list[Sender], Meta(description="the 200 heard last, newest first")] = msgspec.field(
        default_factory=list
    )


class SenderDecision(Answer):
    """An operator's decision about the logs of a network."""

    network: str
    allow: bool


class SourceCertificate(Answer):
    """The certificates of receivers with `tls://` on this node."""

    name: Annotated[str, Meta(description="host name in the node's certificate")]
    ca: Annotated[str, Meta(description="certificate of the mesh's CA, PEM")]


class Camera(Answer):
    """A camera of this node, or a device that could be added."""

    node: NodeName
    name: Annotated[str, Meta(description="empty where it is not added")]
    kind: str
    source: Annotated[str, Meta(description="without credentials")]
    ok: Annotated[bool, Meta(description="whether its last use worked")]
    added: bool
    text: Annotated[str, Meta(description="the error, or the kind of device")]
    worked: Annotated[bool, Meta(description="whether it gave a picture since it was added or the agent started")] = (
        True
    )


class PassedStep(Answer):
    """A WASM step of an applied pipeline that a photo went through; width and height are 0 where it made no picture."""

    step: Annotated[str, Meta(description="PIPELINE/STEP")]
    width: int
    height: int
    size: Size
    ms: Millis


class CameraTest(Answer):
    """A photo that was just taken."""

    name: str
    ok: bool
    width: int
    height: int
    size: Size
    ms: Millis
    jpeg: Annotated[bytes, Meta(description="the photo, base64")]
    passed: Annotated[list[PassedStep], Meta(description="the WASM steps behind the camera, as applied here")] = (
        msgspec.field(default_factory=list)
    )


class StoredBlob(Answer):
    """A blob that is stored on this node."""

    cid: str
    size: Size


class ListedBlob(StoredBlob):
    """A blob on this node."""

    pinned: bool


class BlobList(Answer):
    """The blobs on this node."""

    count: int
    bytes: Size
    quota: Size
    blobs: list[ListedBlob]


class ConnectedSink(Answer):
    """The sink that this node now has."""

    sink: Annotated[str, Meta(description="its address")]
    node: NodeName
    connected: bool


class DisconnectedSink(Answer):
    """The sink that this node had."""

    sink: Annotated[str, Meta(description="its address")]
    node: NodeName
    waiting: Annotated[int, Meta(description="alerts that stay here until this node has a sink again")]
    labelled: Annotated[
        bool, Meta(description="whether the node still has the label uplink, which an operator has to drop")
    ]


class EgressRow(Answer):
    """One exchange with the sink, in bytes on the wire."""

    time: Time
    kind: Annotated[str, Meta(description="hello, alert, status, close, or folded for many old rows")]
    event: Annotated[str, Meta(description="id of the alert; empty for other kinds")]
    up: Size
    down: Size
    sink: Annotated[str, Meta(description="its address")]


class EgressTotal(Answer):
    """The sums of all rows of the requested time."""

    requests: int
    up: Size
    down: Size
    alerts: Annotated[int, Meta(description="requests that carried an alert")]


class Egress(Answer):
    """The traffic out of the building: the newest rows first, and the sums of all rows, also those over the limit."""

    rows: list[EgressRow]
    total: EgressTotal


class ConfigValue(Answer):
    """A key of the configuration with its value."""

    key: str
    value: Any
    origin: Annotated[str, Meta(description="FILE:LINE, the environment variable, an option, or default")]
