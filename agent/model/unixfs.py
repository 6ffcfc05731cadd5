"""UnixFS files as trees of hashes: from the leaves' digests to the root, balanced, as Kubo's `add --cid-version=1` does.

Sources: the UnixFS specification (github.com/ipfs/specs), dag-pb (ipld.io/specs/codecs/dag-pb): chunks of 256 KiB, raw leaves,
at most 174 links a node. A blob of one chunk is its own root. All chunks but the last are full, so the digests of the leaves
and the size name a blob completely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from agent.model.cid import DAG_PB, RAW, Cid

CHUNK = 256 * 1024
"""Bytes of a full leaf."""
WIDTH = 174
"""Most links of one node (Kubo's DefaultLinksPerBlock)."""
DIGEST = 32
_BYTES, _VARINT = 2, 0
_FILE = 2


def cid_of(data: bytes | memoryview) -> str:
    """The CID of a blob."""
    return root_cid(leaf_digests(data), len(data))


def leaf_digests(data: bytes | memoryview) -> bytes:
    """The digests of the leaves of a blob in memory, one after the other."""
    return b"".join(hashlib.sha256(data[i : i + CHUNK]).digest() for i in range(0, max(1, len(data)), CHUNK))


class Node(NamedTuple):
    """A block of the tree: `size` is of the file's bytes below it, `total` of all blocks below it,
    itself included.

    `block` is empty for leaves (their bytes are in the blob itself) and `children` counts links.
    """

    cid: Cid
    size: int
    total: int
    block: bytes = b""
    children: int = 0


def leaf_count(size: int) -> int:
    """How many leaves a blob of `size` bytes has; the empty one has one."""
    return max(1, -(-size // CHUNK))


def layers(leaves: bytes, size: int) -> list[list[Node]]:
    """The tree over these leaf digests (concatenated), leaves first and the root alone in the last layer.

    Raises ValueError where the number of digests does not fit `size`.
    """
    count = leaf_count(size)
    if len(leaves) != count * DIGEST:
        raise ValueError(f"{len(leaves)} bytes of digests for {count} leaves")
    layer = []
    for i in range(count):
        length = min(CHUNK, size - i * CHUNK)
        layer.append(Node(Cid(RAW, leaves[i * DIGEST : (i + 1) * DIGEST]), length, length))
    tree = [layer]
    while len(layer) > 1:
        layer = [_parent(layer[i : i + WIDTH]) for i in range(0, len(layer), WIDTH)]
        tree.append(layer)
    return tree


def root_cid(leaves: bytes, size: int) -> str:
    """The CID of the blob with these leaf digests and this size; raises ValueError where they do not
    fit each other.
    """
    return str(layers(leaves, size)[-1][0].cid)


def preorder(tree: list[list[Node]]) -> Iterator[tuple[Node, int]]:
    """Every node, parents before their children, with its place in its layer (what `ipfs dag export`
    writes).
    """

    def walk(level: int, place: int) -> Iterator[tuple[Node, int]]:
        node = tree[level][place]
        yield node, place
        for i in range(node.children):
            yield from walk(level - 1, place * WIDTH + i)

    return walk(len(tree) - 1, 0)


def _parent(children: list[Node]) -> Node:
    size = sum(c.size for c in children)
    unixfs = _field(1, _FILE) + _field(3, size) + b"".join(_field(4, c.size) for c in children)
    links = (_field(1, c.cid.binary()) + _field(2, b"") + _field(3, c.total) for c in children)
    block = b"".join(_field(2, link) for link in links) + _field(1, unixfs)
    total = len(block) + sum(c.total for c in children)
    return Node(Cid(DAG_PB, hashlib.sha256(block).digest()), size, total, block, len(children))


def varint(n: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    return varint(number << 3 | _BYTES) + varint(len(value)) + value
