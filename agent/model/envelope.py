"""The messages of uplink and sink over an MQTT broker that neither has to trust (docs/sink.md has it in prose).

Requests go to `edge/<mesh>/<kind>` (kind: alert, status, hello), answers to `edge/<mesh>/ack/<request id>`; the request
id of an alert is its event id. Both are envelopes: the id of the sink's key, an HMAC-SHA256 and the body. The HMAC's
key is the SHA-256 of the sink key's text, which the sink stores. The HMAC covers the topic too. So the broker and its
other clients cannot forge an alert or an answer, or move one to another building.
"""

from __future__ import annotations

import hashlib
import hmac
import re

import msgspec

from agent.errors import IdentityError

PREFIX = "edge"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
"""The form of event ids and mesh ids where they become part of a topic or a path."""
SINK_KEY = re.compile(r"esk_([a-z0-9]{8})_([A-Za-z0-9_-]{32,64})\Z")
"""A sink key: its public id, then its secret."""


class Envelope(msgspec.Struct, array_like=True):
    """The content of one MQTT message, as msgpack."""

    key: str
    mac: bytes
    body: bytes


def key_id(key: str) -> str:
    """The public part of a sink key; raises IdentityError when `key` is not a sink key."""
    if not (m := SINK_KEY.match(key)):
        raise IdentityError("this is not a sink key", code="sink.key", hint="`edge-sink key create` prints one: esk_…")
    return m[1]


def key_digest(key: str) -> bytes:
    """The part of a key that the sink stores, to check envelopes with."""
    return hashlib.sha256(key.encode()).digest()


def seal(key: str, digest: bytes, topic: str, body: bytes) -> bytes:
    """The envelope of `body` for `topic`; `key` is the key's id and `digest` its SHA-256."""
    return msgspec.msgpack.encode(Envelope(key, _mac(digest, topic, body), body))


def open_envelope(raw: bytes) -> Envelope:
    """The envelope in `raw`, not yet checked; raises IdentityError."""
    try:
        return msgspec.msgpack.decode(raw, type=Envelope)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise IdentityError("not an envelope", code="sink.envelope") from e


def check(envelope: Envelope, digest: bytes, topic: str) -> None:
    """Raise IdentityError unless the envelope was sealed with this key for this topic."""
    if not hmac.compare_digest(envelope.mac, _mac(digest, topic, envelope.body)):
        raise IdentityError("the envelope was not sealed with this key", code="sink.envelope")


def _mac(digest: bytes, topic: str, body: bytes) -> bytes:
    return hmac.digest(digest, b"edge-mqtt-1\0" + topic.encode() + b"\0" + body, "sha256")
