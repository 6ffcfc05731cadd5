"""The data that leaves the building: the contract between uplink and sink (docs/protocol.md describes it in prose)."""

from __future__ import annotations

import msgspec

from agent.model.event import Event, event_id
from agent.model.health import Warning

MAX_ALERT = 4 * 1024 * 1024
"""Largest alert on the wire in bytes, photo included."""


class Hello(msgspec.Struct, omit_defaults=True):
    """The first message to a sink: the mesh and the node that speak, and the mesh's CA (PEM), which the sink keeps."""

    mesh: str
    node: str
    name: str = ""
    ca: str = ""


class Hop(msgspec.Struct, omit_defaults=True):
    """One step of an event's way: the node's name, when it was done in ms since the root event, and how long it ran.

    `at_ms` adds durations measured on each node with its own monotonic clock; no clock is compared with another.
    """

    step: str
    node: str
    at_ms: float
    run_ms: float = 0.0
    event: str = ""


class AlertPhoto(msgspec.Struct, omit_defaults=True):
    """A photo that leaves with an alert: JPEG bytes under their CID."""

    name: str
    cid: str
    type: str
    size: int
    content: bytes = b""


class Alert(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One alert: the event, its trace and its photos, signed by the node that made it.

    Travels as msgpack. `event.id` is the idempotency key. `signature` is ECDSA P-256/SHA-256 (DER) by `certificate`'s
    key over `alert_bytes()`; the sink keeps mesh, node and certificate, and checks it. `trace` runs from the log line
    (step `line`) to the alert.
    """

    mesh: str
    node: str
    event: Event
    trace: list[Hop] = []
    photos: list[AlertPhoto] = []
    certificate: bytes = b""
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        """The bytes that the signature covers: everything but certificate and signature (photos by their CIDs)."""
        return msgspec.json.encode(
            [self.mesh, self.node, self.event, self.trace, [[p.name, p.cid, p.type, p.size] for p in self.photos]]
        )


class StatusSummary(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The state of the building, sent to the sink on change and every `every` seconds; can be switched off."""

    mesh: str
    node: str
    time: str
    nodes: list[dict[str, str]] = []
    warnings: list[Warning] = []
    every: int = 900


def alert_id(version: str, step: str, event: str) -> str:
    """The id of the alert that a sink step makes of the event with this id."""
    return event_id(version, step, event, "alert")
