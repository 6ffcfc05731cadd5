"""CIDs: the names of blobs.

CIDv1 as in the multiformats specification (github.com/multiformats/cid): version, codec, multihash;
here always sha2-256 and written in lower-case base32 without padding (multibase prefix `b`). Only the
canonical spelling is accepted, so that a blob has one name.
"""

from __future__ import annotations

import hashlib
from base64 import b32decode, b32encode
from typing import NamedTuple

from agent.errors import BlobError

RAW = 0x55
"""Multicodec of a raw leaf: the bytes of the blob themselves."""
DAG_PB = 0x70
"""Multicodec of a dag-pb node: a UnixFS file of more than one chunk."""
_SHA2_256 = b"\x12\x20"
_LENGTH = 59


class Cid(NamedTuple):
    """A parsed CID: the codec of its root block and that block's SHA-256."""

    codec: int
    digest: bytes

    def __str__(self) -> str:
        return "b" + b32encode(self.binary()).decode().lower().rstrip("=")

    def binary(self) -> bytes:
        """The 36 bytes that links and CAR files carry."""
        return bytes((1, self.codec)) + _SHA2_256 + self.digest


def parse_cid(text: str) -> Cid:
    """The parts of a CID; raises BlobError (`blob.cid`) for anything but the canonical form."""
    try:
        raw = b32decode(text[1:].upper() + "======") if len(text) == _LENGTH and text[0] == "b" else b""
    except ValueError:
        raw = b""
    cid = Cid(raw[1], raw[4:]) if len(raw) == 36 else None
    if cid is None or cid.codec not in (RAW, DAG_PB) or str(cid) != text:
        raise BlobError(
            f"{text[:80]!r} is not a CID",
            code="blob.cid",
            hint="a CIDv1 starts with bafkrei or bafybei and has 59 letters",
        )
    return cid


def is_cid(text: str) -> bool:
    """Whether it is a CID in the canonical form."""
    try:
        parse_cid(text)
    except BlobError:
        return False
    return True


def raw_cid(data: bytes | memoryview) -> str:
    """The CID of a blob of at most one chunk."""
    return str(Cid(RAW, hashlib.sha256(data).digest()))


EMPTY = raw_cid(b"")
"""The CID of the blob of no bytes."""
