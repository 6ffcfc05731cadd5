"""CAR export: a blob as one file that Kubo and other IPFS programs import (`ipfs dag import`).

Source: CARv1 (ipld.io/specs/transport/car/carv1): a length-prefixed dag-cbor header, then each block as
varint length, CID and bytes; parents before their children.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from agent.blobs.store import BlobStore
from agent.model.cid import Cid, parse_cid
from agent.model.unixfs import CHUNK, layers, preorder, varint


def car_header(root: Cid) -> bytes:
    """The header `{"roots": [root], "version": 1}` in dag-cbor, with its length."""
    link = b"\xd8\x2a\x58\x25\x00" + root.binary()
    body = b"\xa2\x65roots\x81" + link + b"\x67version\x01"
    return varint(len(body)) + body


async def car_sections(store: BlobStore, cid: str) -> AsyncIterator[bytes]:
    """The CAR file in pieces of at most one block; raises BlobError where the blob is not here."""
    leaves, size = await store.leaves(cid)
    yield car_header(parse_cid(cid))
    for node, place in preorder(layers(leaves, size)):
        block = node.block or await store.read_at(cid, place * CHUNK, CHUNK)
        name = node.cid.binary()
        yield varint(len(name) + len(block)) + name + block


async def write_car(store: BlobStore, cid: str, fd: int) -> int:
    """Write the blob as a CAR file to an open file; returns the bytes written. Raises BlobError."""
    total = 0
    async for section in car_sections(store, cid):
        total += len(section)
        view = memoryview(section)
        while view:
            view = view[os.write(fd, view) :]
    return total
