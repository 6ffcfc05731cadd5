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
