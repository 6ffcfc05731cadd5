"""The verbs by which nodes move blobs, in msgpack; docs/protocol.md has them in prose.

`blob.have` {cid} → {size}; `blob.tree` {cid} → {size, leaves}; `blob.get` {cid, offset, length} → the
bytes. An empty reply means "not here, or not for you": a stranger cannot tell which.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from agent.errors import Refused
from agent.model.decoding import DAMAGED
from agent.model.unixfs import CHUNK

HAVE, TREE, GET = "blob.have", "blob.tree", "blob.get"
MAX_SPAN = 8
"""Most leaves in one reply; with the envelope they stay well below the 4 MiB of one message."""
MAX_RANGE = MAX_SPAN * CHUNK
MAX_REQUEST = 256
"""Largest request in bytes."""


class Ask(msgspec.Struct):
    """The request of `blob.have` and `blob.tree`."""

    cid: str


class Get(msgspec.Struct):
    """The request of `blob.get`: `length` bytes from `offset`."""

    cid: str
    offset: int
    length: int


class Have(msgspec.Struct):
    """The answer of `blob.have`."""

    size: int


class Tree(msgspec.Struct):
    """The answer of `blob.tree`: the digests of all leaves, one after the other; with `size` they make the CID."""

    size: int
    leaves: bytes


T = TypeVar("T")


def encode(message: msgspec.Struct) -> bytes:
    """A message as msgpack."""
    return msgspec.msgpack.encode(message)


def decode(raw: bytes, kind: type[T], limit: int = MAX_REQUEST) -> T:
    """The message in `raw`; raises Refused where it is too long or malformed."""
    if len(raw) > limit:
        raise Refused(f"a message of {len(raw)} bytes about a blob; the limit is {limit}", code="refused.malformed")
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except DAMAGED as error:
        raise Refused(f"a malformed message about a blob: {error}", code="refused.malformed") from error
