"""Whether bytes are the ones that a CID names (CIDv1, sha2-256; raw up to one chunk, UnixFS above).

Sources: the CID specification (multiformats/cid), the UnixFS specification (ipfs/specs, balanced layout, 256 KiB
chunks, 174 links a node). The sink computes it itself because it shares nothing with the agents but the model.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode

CHUNK = 256 * 1024
WIDTH = 174
_RAW, _DAG_PB = 0x55, 0x70


def cid_of(data: bytes) -> str:
    """The CID of these bytes."""
    level = [_leaf(data[i : i + CHUNK]) for i in range(0, max(len(data), 1), CHUNK)]
    while len(level) > 1:
        level = [_node(level[i : i + WIDTH]) for i in range(0, len(level), WIDTH)]
    return "b" + b32encode(level[0][0]).decode().lower().rstrip("=")


def _leaf(chunk: bytes) -> tuple[bytes, int, int]:
    """(cid, size of the tree below in blocks' bytes, size of the file part)."""
    return _cid(_RAW, chunk), len(chunk), len(chunk)


def _node(children: list[tuple[bytes, int, int]]) -> tuple[bytes, int, int]:
    size = sum(c[2] for c in children)
    links = b"".join(_bytes(2, _bytes(1, cid) + _bytes(2, b"") + _number(3, tree)) for cid, tree, _ in children)
    unixfs = _number(1, 2) + _number(3, size) + b"".join(_number(4, c[2]) for c in children)
    block = links + _bytes(1, unixfs)
    return _cid(_DAG_PB, block), len(block) + sum(c[1] for c in children), size


def _cid(codec: int, block: bytes) -> bytes:
    return bytes((1, codec, 0x12, 0x20)) + hashlib.sha256(block).digest()


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)
