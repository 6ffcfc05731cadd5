"""Events: CloudEvents 1.0 in JSON, with the mesh's extensions.

Source of the format: CloudEvents specification 1.0.2, JSON event format; `traceparent` from the CloudEvents
distributed-tracing extension (W3C Trace Context).
"""

from __future__ import annotations

import hashlib
import random
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

MAX_EVENT = 256 * 1024
"""Largest encoded event in bytes; more is refused by every receiver."""
MAX_BLOBS = 32
"""Most blobs that one event may name."""
MAX_EVENT_BLOB = 64 * 1024 * 1024
"""Largest blob in bytes that an event from another node may name: a receiver fetches it before it accepts the event."""
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [a + b for a in _BASE32 for b in _BASE32]
"""Two letters for each ten bits (RFC 4648)."""
MAX_DEPTH = 64
"""How deeply an event's data may be nested: decoding, encoding and expressions all recurse."""


class BlobRef(msgspec.Struct, omit_defaults=True):
    """A blob that an event names in `data.blobs`; `path` is set only in what a program reads and writes."""

    name: str
    cid: str = ""
    type: str = "application/octet-stream"
    size: int = 0
    path: str = ""


class Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One CloudEvent. `parent` and `root` are event ids; `source` is `/<node>/<pipeline>/<step>`."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: str
    subject: str = ""
    datacontenttype: str = "application/json"
    data: dict[str, Any] = {}
    parent: str = ""
    root: str = ""
    traceparent: str = ""
    pipeline: str = ""
    step: str = ""

    def blobs(self) -> list[BlobRef]:
        """The blobs that `data.blobs` names; raises msgspec.ValidationError where it is malformed."""
        return msgspec.convert(self.data["blobs"], list[BlobRef]) if "blobs" in self.data else []

    def encode(self) -> bytes:
        """One JSON line without the newline; `specversion` is always there."""
        return _ENCODER.encode({"specversion": self.specversion, **msgspec.to_builtins(self)})


_ENCODER = msgspec.json.Encoder()
_NESTS = (dict, list)
_DECODER = msgspec.json.Decoder(Event)


def decode_event(raw: bytes) -> Event:
    """The event in `raw`; raises msgspec.ValidationError or msgspec.DecodeError."""
    return _DECODER.decode(raw)


def check_depth(value: Any, left: int = MAX_DEPTH) -> None:
    """Raise ValueError where objects and lists are nested deeper than an event's data may be."""
    if left == 0:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, _NESTS):
            check_depth(inner, left - 1)


def event_id(*parts: str | int | bytes) -> str:
    """An id from what the event came from: 26 letters of base32 (128 bits of SHA-256), each part length-prefixed."""
    h = hashlib.sha256()
    for part in parts:
        b = part if isinstance(part, bytes) else str(part).encode()
        h.update(len(b).to_bytes(4, "big") + b)
    # `base64.b32encode` takes five times as long, for each event.
    bits = int.from_bytes(h.digest()[:16], "big") << 2
    return "".join([_PAIRS[bits >> at & 1023] for at in range(120, -1, -10)])


def traceparent(root: str) -> str:
    """A W3C traceparent whose trace id is derived from the root event's id, with a fresh span id."""
    span = random.getrandbits(64)
    return f"00-{hashlib.sha256(root.encode()).hexdigest()[:32]}-{span:016x}-01"


def rfc3339(unix: float) -> str:
    """A Unix time as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> str:
    """The time of the wall clock, as RFC 3339 in UTC with milliseconds."""
    return rfc3339(time.time())
