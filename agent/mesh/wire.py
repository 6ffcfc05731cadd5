"""The structs, key expressions and limits of the mesh protocol (docs/protocol.md describes them).

Every struct travels as a msgpack array in the order of its fields. A signature is ECDSA P-256 with
SHA-256 (DER) over a domain prefix and the exact bytes of the header, so that no message is accepted as one
of another kind.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TypeVar

import msgspec

from agent import PROTOCOL
from agent.model.node import NodeRecord

VERSION = PROTOCOL
MAX_BODY = 8 << 20
"""Default largest body of a request or a reply, in bytes."""
BULK = 64 << 10
"""Bodies above this many bytes are hashed and sent from a thread: a full transmit queue may block the sender."""
MAX_HEADER = 16 << 10
"""Largest header of a request or a reply, certificate and signature included, in bytes."""
MAX_RECORD = 64 << 10
"""Largest signed presence record in bytes."""
MAX_LOG = 256 << 10
"""Largest signed batch of log lines in bytes."""

REQUEST = b"edge-agent request 1\0"
REPLY = b"edge-agent reply 1\0"
PRESENCE = b"edge-agent presence 1\0"
LOG = b"edge-agent log 1\0"

STATUS_OK = "ok"
STATUS_ERROR = "error"
STATUS_BOOT = "boot"
STATUS_CERTIFICATE = "certificate"

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}\Z")
"""A valid part of a key expression: a verb, an execution id, the kind or name of a document."""


class Request(msgspec.Struct, array_like=True, frozen=True):
    """The signed header of a request.

    `recipient_boot` is the boot epoch that the sender believes the recipient to have; `counter` rises
    within the sender's boot; `digest` is the SHA-256 of the body; `ask_certificate` asks that the reply
    carry the recipient's certificate.
    """

    version: int
    recipient: str
    recipient_boot: str
    sender: str
    sender_boot: str
    counter: int
    verb: str
    digest: bytes
    ask_certificate: bool = False


class Reply(msgspec.Struct, array_like=True, frozen=True):
    """The signed header of a reply.

    `recipient`, `recipient_boot` and `counter` are the request's sender, its boot and its counter;
    `sender_boot` is the boot epoch of the node that answers; `status` is `ok`, `error` (the body is a
    Failure), `boot` (ask again, for `sender_boot`) or `certificate` (ask again, with your certificate).
    """

    version: int
    sender: str
    sender_boot: str
    recipient: str
    recipient_boot: str
    counter: int
    status: str
    digest: bytes


class Sealed(msgspec.Struct, array_like=True, frozen=True):
    """Signed bytes: the attachment of a request or reply, or a whole presence record or batch of log lines.

    `certificate` (DER) is empty where the receiver is expected to know it.
    """

    content: bytes
    signature: bytes
    certificate: bytes = b""


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """The body of a reply with status `error`; `kind` is the class in errors.py, `fields` what its
    `--json` shows.
    """

    kind: str
    code: str
    message: str
    hint: str = ""
    fields: dict[str, str | int | float | bool | None] = {}


class Presence(msgspec.Struct, array_like=True, frozen=True):
    """The content of a presence record; `session` is the zenoh id of the node's session.

    `pause` is the number of seconds that the node will be away on purpose (its session reopens): other nodes do
    not count it lost.
    """

    record: NodeRecord
    session: str = ""
    pause: float = 0.0


class LogBatch(msgspec.Struct, array_like=True, frozen=True):
    """Log lines of one execution; `first` is the number of the first line, from 0; lines that were
    dropped leave a gap.
    """

    execution: str
    sender: str
    sender_boot: str
    first: int
    lines: list[str]


class DocumentPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON payload in the DSSE envelope of a signed document; `body` is base64 there."""

    mesh: str
    kind: str
    name: str
    counter: int
    removed: bool = False
    body: bytes = b""


class DocumentKey(msgspec.Struct, array_like=True, frozen=True):
    """One version of a document: `hash` is the SHA-256 of its payload in hex."""

    kind: str
    name: str
    counter: int
    hash: str


class DocumentDigest(msgspec.Struct, array_like=True, frozen=True):
    """The body of `doc.digest`: the documents of the asking node."""

    have: list[DocumentKey]


class MissingDocuments(msgspec.Struct, array_like=True, frozen=True):
    """The answer to `doc.digest`: envelopes that the asking node lacks, and the keys of those that the answering
    node lacks.
    """

    newer: list[bytes]
    lacking: list[DocumentKey]


class Envelopes(msgspec.Struct, array_like=True, frozen=True):
    """The body of `doc.put`: DSSE envelopes of documents."""

    envelopes: list[bytes]


T = TypeVar("T")
_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[type, msgspec.msgpack.Decoder[object]] = {
    t: msgspec.msgpack.Decoder(t)
    for t in (Request, Reply, Sealed, Failure, Presence, LogBatch, DocumentDigest, MissingDocuments, Envelopes)
}


def encode(value: msgspec.Struct) -> bytes:
    """The struct as msgpack."""
    return _ENCODER.encode(value)


def decode(kind: type[T], raw: bytes) -> T:
    """The struct in `raw`; raises msgspec.ValidationError or msgspec.DecodeError, whatever the bytes are."""
    try:
        value = _DECODERS[kind].decode(raw)
    except (UnicodeDecodeError, RecursionError) as error:
        # msgspec raises these two as they are: text that is not UTF-8, and endless nesting.
        raise msgspec.DecodeError(str(error)) from None
    assert isinstance(value, kind)
    return value


def digest(body: bytes) -> bytes:
    """SHA-256 of a body."""
    return hashlib.sha256(body).digest()


async def digest_aside(body: bytes) -> bytes:
    """`digest`, in a thread where the body has more than BULK bytes."""
    return digest(body) if len(body) <= BULK else await asyncio.to_thread(digest, body)


class Keys:
    """The key expressions of one mesh."""

    def __init__(self, mesh_id: str) -> None:
        self.root = f"edge/{mesh_id}"

    def alive(self, node: str = "*") -> str:
        """The liveliness token of a node."""
        return f"{self.root}/alive/{node}"

    def presence(self, node: str = "*") -> str:
        """The key of a node's presence record."""
        return f"{self.root}/presence/{node}"

    def rpc(self, node: str, verb: str) -> str:
        """The key on which a node answers requests."""
        return f"{self.root}/rpc/{node}/{verb}"

    def log(self, execution: str) -> str:
        """The key of an execution's log lines."""
        return f"{self.root}/log/{execution}"
