"""Checks an alert's shape, limits, signature and photo names. Pure: stores nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.errors import IdentityError, Refused
from agent.model.alert import MAX_ALERT, Alert, AlertPhoto, Hello, Hop, StatusSummary
from agent.model.envelope import REQUEST_ID
from agent.model.event import MAX_EVENT, Event, check_depth
from agent.model.unixfs import cid_of
from cloud_sink.settings import Limits

T = TypeVar("T")

MAX_HOPS = 100
MAX_NODES = 1000
MAX_WARNINGS = 200
MAX_CERTIFICATE = 16_384
MAX_ENCODED = 3 * MAX_EVENT
"""Most bytes of an event in msgpack. A float has nine bytes there, and in JSON four or more with its comma."""
# Matches a NUL in JSON, but not an escaped backslash with the letters u0000.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class _Wire(msgspec.Struct, kw_only=True):
    """An alert whose event is not decoded yet: decoding can take a hundred times the memory of its bytes."""

    mesh: str
    node: str
    event: msgspec.Raw
    trace: list[Hop] = []
    photos: list[AlertPhoto] = []
    certificate: bytes = b""
    signature: bytes = b""


def decode_alert(body: bytes, limits: Limits) -> Alert:
    """The alert in a body; raises Refused (`sink.malformed`, `sink.too-large`)."""
    if len(body) > MAX_ALERT:
        raise Refused(f"an alert has at most {MAX_ALERT} bytes", code="sink.too-large")
    wire = _decode(body, _Wire)
    if len(wire.event) > MAX_ENCODED:
        raise Refused(f"an event has at most {MAX_EVENT} bytes", code="sink.too-large")
    event = _decode(wire.event, Event)
    alert = Alert(
        mesh=wire.mesh, node=wire.node, event=event, trace=wire.trace, photos=wire.photos,
        certificate=wire.certificate, signature=wire.signature,
    )  # fmt: skip
    if len(alert.certificate) > MAX_CERTIFICATE:
        raise _malformed(f"a certificate has at most {MAX_CERTIFICATE} bytes")
    for name, value in (("mesh", alert.mesh), ("event id", event.id)):
        if not REQUEST_ID.match(value):
            raise _malformed(f"{name} {value[:80]!r} is not 1 to 64 of A-Z a-z 0-9 . _ -")
    if event.root and not REQUEST_ID.match(event.root):
        raise _malformed("the root is not an event id")
    for name, value in (("node", alert.node), ("type", event.type), ("source", event.source), ("time", event.time)):
        if not value or len(value) > 128 or not value.isprintable():
            raise _malformed(f"{name} is not 1 to 128 printable characters")
    if len(alert.photos) > limits.photos or len(alert.trace) > MAX_HOPS:
        raise _malformed(f"an alert has at most {limits.photos} photos and {MAX_HOPS} hops")
    if any(len(p.content) > limits.photo for p in alert.photos):
        raise Refused(f"a photo has at most {limits.photo} bytes", code="sink.too-large")
    try:
        check_depth(event.data)
    except ValueError as e:
        raise _malformed(f"the event's data are {e}") from e
    try:
        encoded = event.encode()
    except (TypeError, ValueError, RecursionError, msgspec.EncodeError) as e:
        raise _malformed(f"the event cannot be written as JSON: {e}") from e
    if len(encoded) > MAX_EVENT:
        raise Refused(f"an event has at most {MAX_EVENT} bytes", code="sink.too-large")
    if _NUL.search(encoded):
        raise _malformed("the event contains a NUL character")
    return alert


def decode_status(body: bytes) -> StatusSummary:
    """The status summary in a body; raises Refused (`sink.malformed`)."""
    summary = _decode(body, StatusSummary)
    if not REQUEST_ID.match(summary.mesh) or len(summary.nodes) > MAX_NODES or len(summary.warnings) > MAX_WARNINGS:
        raise _malformed(f"a status has a valid mesh id, at most {MAX_NODES} nodes and {MAX_WARNINGS} warnings")
    texts = [summary.node, summary.time, *(t for n in summary.nodes for t in (*n.keys(), *n.values()))]
    texts += [t for w in summary.warnings for t in (w.code, w.subject, w.text, w.remedy, w.severity)]
    if any(len(t) > 1000 or "\0" in t for t in texts) or len(summary.time) > 40 or len(summary.node) > 128:
        raise _malformed("the status has a text that is too long or contains a NUL character")
    return summary


def decode_hello(body: bytes) -> Hello:
    """The hello in a body; raises Refused (`sink.malformed`)."""
    hello = _decode(body, Hello)
    if not REQUEST_ID.match(hello.mesh) or len(hello.ca) > MAX_CERTIFICATE:
        raise _malformed("a hello has a valid mesh id and a CA certificate")
    if hello.ca:
        _authority(hello.ca)
    return hello


def check_signature(alert: Alert, ca: str) -> None:
    """Raise IdentityError unless the alert's node signed it and `ca`, if it is known, issued that node's certificate.

    The certificate's expiry is not checked: an alert may wait in a spool for longer than its certificate is valid.
    """
    try:
        certificate = _certificate(alert.certificate)
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise IdentityError("the certificate's key is not an ECDSA key", code="sink.signature")
        key.verify(alert.signature, alert.signed_bytes(), ec.ECDSA(hashes.SHA256()))
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if ca:
            certificate.verify_directly_issued_by(_authority(ca))
    except (ValueError, TypeError, InvalidSignature) as e:
        raise IdentityError(
            f"the alert is not signed by a node of mesh {alert.mesh}",
            code="sink.signature",
            hint="use the key of this mesh: a key belongs to the first mesh that used it",
        ) from e
    if alert.node not in [n.value for n in names]:
        raise IdentityError(f"the certificate does not belong to node {alert.node}", code="sink.signature")


def check_photos(alert: Alert) -> None:
    """Raise Refused unless each photo's bytes have the CID and size that the signature covers."""
    for photo in alert.photos:
        if len(photo.content) != photo.size or cid_of(photo.content) != photo.cid:
            raise Refused(f"photo {photo.name[:80]!r} is not the photo that was signed", code="sink.photo")


def _decode(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise _malformed(str(e)) from e


def _malformed(why: str) -> Refused:
    return Refused(f"malformed: {why[:200]}", code="sink.malformed", hint="send msgpack as docs/protocol.md describes")


@lru_cache(maxsize=256)
def _certificate(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


@lru_cache(maxsize=64)
def _authority(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as e:
        raise _malformed("the CA is not a PEM certificate") from e
