"""The messages between joiners and enrolment servers.

TLS 1.3, ALPN `edge-enrol/1`, then frames of a 32-bit big-endian length and one msgpack map whose `verb` names
the struct; one answer for each request, several requests in a connection. The server shows its node
certificate; the client shows none. `Join`, `Commit`, `Poll` and `Renew` travel unchanged from a member that
relays to the operator.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import ssl
import struct

import msgspec

from agent.errors import IdentityError, JoinRefused
from agent.identity.store import Identity
from agent.tls import unchecked_context

ALPN = "edge-enrol/1"
MAX_FRAME = 64 * 1024
"""Largest frame in bytes; the largest honest one, an admission with 64 labels, has about 10 KiB."""

ADMISSION_TYPE = "application/vnd.edge-agent.admission"
AWAY = "join.operator-away"
NOT_NOW = frozenset({AWAY, "unreachable"})
"""Codes of refusals that pass with time: the operator cannot be reached from here now. They are not counted as failures."""


class Hello(msgspec.Struct, tag_field="verb", tag="hello", omit_defaults=True):
    """First request. `ca` is the CA hash that the joiner holds a token for, empty without a token.

    `protocol` is the client's protocol of the mesh, 1 where the field is left out.
    """

    ca: bytes = b""
    issuer: str = ""
    protocol: int = 1


class Join(msgspec.Struct, tag_field="verb", tag="join"):
    """`body` is a JoinBody, `mac` is `join_mac` of it; the secret itself never travels."""

    issuer: str
    body: bytes
    mac: bytes


class JoinBody(msgspec.Struct):
    """The request of a joiner with a token; `name` is a wish, `labels` are the detected labels."""

    token: str
    csr: bytes
    name: str
    labels: dict[str, str]


class Commit(msgspec.Struct, tag_field="verb", tag="commit"):
    """Without a token: the hash of a nonce and a key that `Poll` will show, so that neither side can choose
    the code.
    """

    commitment: bytes


class Poll(msgspec.Struct, tag_field="verb", tag="poll"):
    """Reveals the committed values, and asks for the decision."""

    operator: str
    commitment: bytes
    nonce: bytes
    csr: bytes
    name: str
    labels: dict[str, str]


class Renew(msgspec.Struct, tag_field="verb", tag="renew"):
    """Asks for a newer certificate for the same key, which signs `renewal_bytes`."""

    certificate: bytes
    signature: bytes


class Welcome(msgspec.Struct, tag_field="verb", tag="welcome", omit_defaults=True):
    """Answer to Hello: the CA certificate, and the issuer's where it was asked for and is known here."""

    ca: bytes
    issuer: bytes = b""


class Committed(msgspec.Struct, tag_field="verb", tag="committed"):
    """Answer to Commit: the operator's certificate and its nonce."""

    operator: bytes
    nonce: bytes


class Waiting(msgspec.Struct, tag_field="verb", tag="waiting"):
    """Answer to Poll: no operator has decided yet."""


class Admitted(msgspec.Struct, tag_field="verb", tag="admitted"):
    """The admission: a DSSE envelope of type ADMISSION_TYPE around an Admission, signed by the operator."""

    envelope: bytes


class Refusal(msgspec.Struct, tag_field="verb", tag="refusal", omit_defaults=True):
    """A refused request, with its reason."""

    code: str
    message: str
    hint: str = ""


class Admission(msgspec.Struct, omit_defaults=True):
    """The admission of a node: its certificate (DER), the statement signed for it, and mesh addresses to dial.

    `sealed_ca_key` is for operators: the CA's key, readable by the node's own key alone.
    """

    node: str
    certificate: bytes
    labels: dict[str, str] = {}
    endpoints: list[str] = []
    sealed_ca_key: bytes = b""


Request = Hello | Join | Commit | Poll | Renew
Answer = Welcome | Committed | Waiting | Admitted | Refusal

_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


def encode(message: Request | Answer | JoinBody | Admission) -> bytes:
    """A message as msgpack."""
    return _encoder.encode(message)


def decode_request(raw: bytes) -> Request:
    """The request in `raw`; raises JoinRefused with code `join.garbage`."""
    try:
        return _requests.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise JoinRefused("the request cannot be decoded", code="join.garbage") from error


def decode_answer(raw: bytes) -> Answer:
    """The answer in `raw`; raises IdentityError."""
    try:
        return _answers.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise IdentityError("the answer cannot be decoded", hint="are both agents of the same version?") from error


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame, None at an orderly end.

    Raises JoinRefused (`join.oversize`, `join.garbage` when cut off), OSError.
    """
    head = b""
    try:
        head = await reader.readexactly(4)
        (size,) = struct.unpack(">I", head)
        if size > MAX_FRAME:
            raise JoinRefused(f"a message of {size} bytes is too large", code="join.oversize")
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        if not head and not error.partial:
            return None
        raise JoinRefused("the connection was closed too early", code="join.garbage") from error


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    return struct.pack(">I", len(message)) + message


def join_mac(secret: bytes, issuer_key: bytes, body: bytes) -> bytes:
    """HMAC-SHA-256 with the token's secret; `issuer_key` is the SPKI of the operator's certificate that was
    shown.
    """
    return hmac.digest(secret, b"edge-agent join 1\0" + hashlib.sha256(issuer_key).digest() + body, "sha256")


def renewal_bytes(ca_der: bytes, cert_der: bytes) -> bytes:
    """The bytes that a node signs to renew this certificate in this mesh."""
    return b"edge-agent renew 1\0" + hashlib.sha256(ca_der).digest() + cert_der


def server_context(identity: Identity) -> ssl.SSLContext:
    """TLS for an enrolment server: this node's certificate, TLS 1.3 only."""
    context = node_context(identity)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context


def node_context(identity: Identity) -> ssl.SSLContext:
    """TLS for a server with this node's certificate, which accepts clients without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The ssl module reads keys from files only; this one is in memory and closed at once.
    fd = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(fd, identity.key_pem + identity.cert_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


def client_context() -> ssl.SSLContext:
    """TLS for a joiner, which checks the server's certificate itself once it has the CA's."""
    context = unchecked_context(ssl.TLSVersion.TLSv1_3)
    context.set_alpn_protocols([ALPN])
    return context
