"""Copying bytes into a file while the digests of their leaves are computed: one chunk in memory, in a thread."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from agent.blobs.faults import too_large
from agent.model.unixfs import CHUNK, leaf_digests, root_cid


class Hashed(NamedTuple):
    """A blob that was read: its CID, its size in bytes, and the digests of its leaves, one after the other."""

    cid: str
    size: int
    leaves: bytes


def hash_bytes(data: bytes | memoryview) -> Hashed:
    """Hash bytes that are in memory."""
    view = memoryview(data).cast("B")
    leaves = leaf_digests(view)
    return Hashed(root_cid(leaves, len(view)), len(view), leaves)


def copy_fd(source: int, target: int | None, limit: int) -> Hashed:
    """Hash all of the file `source`, from its position on, and write it to `target` if there is one.

    Raises BlobError (`blob.too-large`) as soon as more than `limit` bytes were read.
    """
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    leaves = bytearray()
    size = 0
    while True:
        got = _fill(source, view)
        if got == 0 and size > 0:
            break
        size += got
        if size > limit:
            raise too_large(f"more than {limit}", limit)
        leaves += hashlib.sha256(view[:got]).digest()
        if target is not None:
            write_all(target, view[:got])
        if got < CHUNK:
            break
    return Hashed(root_cid(bytes(leaves), size), size, bytes(leaves))


def copy_pieces(pieces: Iterable[bytes], target: int, limit: int, grown: Callable[[int], None]) -> Hashed:
    """Write pieces of any length to `target` and hash them; `grown` gets the size that the file is about to have.

    Raises BlobError (`blob.too-large`) as soon as more than `limit` bytes came.
    """
    held = b""
    leaves = bytearray()
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise too_large(f"more than {limit}", limit)
        grown(size)
        held += piece
        whole = len(held) - len(held) % CHUNK
        if whole:
            leaves += leaf_digests(memoryview(held)[:whole])
            write_all(target, memoryview(held)[:whole])
            held = held[whole:]
    if held or not size:
        leaves += leaf_digests(held)
        write_all(target, held)
    return Hashed(root_cid(bytes(leaves), size), size, bytes(leaves))


def _fill(fd: int, view: memoryview) -> int:
    filled = 0
    while filled < len(view):
        got = os.readv(fd, [view[filled:]])
        if got == 0:
            break
        filled += got
    return filled


def write_all(fd: int, data: bytes | memoryview, offset: int | None = None) -> None:
    """Write everything, at `offset` where given; raises OSError."""
    view = memoryview(data)
    while view:
        wrote = os.write(fd, view) if offset is None else os.pwrite(fd, view, offset)
        view = view[wrote:]
        if offset is not None:
            offset += wrote
