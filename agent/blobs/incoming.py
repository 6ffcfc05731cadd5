"""A blob that is arriving in pieces: a temporary file of its final size, and which of its leaves are verified."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from agent.blobs.hashing import Hashed, copy_pieces, write_all
from agent.errors import BlobError
from agent.model.unixfs import CHUNK, DIGEST, leaf_count


class WrongBytes(BlobError):
    """Bytes that do not match the CID under which they were sent."""

    code = "blob.mismatch"


class Reservation:
    """A part of the quota that a write in progress holds; given back once."""

    def __init__(self, release: Callable[[int], None], size: int) -> None:
        self._release = release
        self._size = size

    def close(self) -> None:
        """Give it back."""
        size, self._size = self._size, 0
        self._release(size)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextlib.contextmanager
def temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new open file (descriptor, path) for this process alone, deleted afterwards unless it was renamed."""
    path = folder / os.urandom(8).hex()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield fd, path
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)


def lacking(folder: Path, reserved: int, size: int) -> int:
    """Bytes that the disk of `folder` lacks to store `size` more. Its files will hold `reserved` bytes, and hold a part of
    them already. At most 0 where all fit, or where the file system reports no size (ramfs).
    """
    held = 0
    with os.scandir(folder) as files:
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                held += min(stat.st_size, stat.st_blocks * 512)
    disk = os.statvfs(folder)
    return max(0, reserved - held) + size - disk.f_bavail * disk.f_frsize if disk.f_blocks else 0


GROWTH = 16 << 20
"""Bytes by which the room for a stream grows."""


def receive(
    pieces: Iterable[bytes],
    folder: Path,
    reserve: Callable[[int], Reservation],
    room: int,
    limit: int,
    end: Callable[[Path, int, Hashed], None],
) -> Hashed:
    """Write a stream of unknown size into a temporary file, which `end(path, descriptor, hashed)` may rename.

    `room` bytes are reserved first, and GROWTH more each time when they are used up; raises BlobError, and what `pieces` raises.
    """
    with contextlib.ExitStack() as held, temporary(folder) as (fd, path):
        held.enter_context(reserve(room))
        reserved = room

        def grown(size: int) -> None:
            nonlocal reserved
            while reserved < size:
                held.enter_context(reserve(GROWTH))
                reserved += GROWTH

        hashed = copy_pieces(pieces, fd, limit, grown)
        end(path, fd, hashed)
        return hashed


class Incoming:
    """Room for one blob; blocking methods are for threads. `close` deletes a file that was not committed.

    `leaves` are the digests that everything written is verified against.
    """

    leaves: bytes = b""

    def __init__(self, folder: Path, cid: str, size: int, reservation: Reservation) -> None:
        self.cid = cid
        self.size = size
        self.path = folder / os.urandom(8).hex()
        self._reservation = reservation
        self._done = bytearray(leaf_count(size))
        # A thread may still be writing when its waiter was cancelled and the file is closed.
        self._lock = threading.Lock()
        try:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            reservation.close()
            raise
        try:
            os.ftruncate(self.fd, size)
        except OSError:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether it was committed or given up."""
        return self.fd < 0

    @property
    def started(self) -> bool:
        """Whether any leaf has been verified."""
        return any(self._done)

    @property
    def verified(self) -> int:
        """Bytes that are verified and written, to a leaf."""
        return min(self.size, sum(self._done) * CHUNK)

    def missing(self) -> list[int]:
        """The numbers of the leaves that are not verified yet."""
        return [i for i, done in enumerate(self._done) if not done]

    def write(self, first: int, data: bytes) -> None:
        """Verify `data`, whole leaves from leaf `first` on, and write each only when its digest is right.

        Raises BlobError (`blob.mismatch`) at the first wrong leaf; the leaves before it stay.
        """
        view = memoryview(data)
        for i in range(first, first + leaf_count(len(view))):
            chunk = view[(i - first) * CHUNK : (i - first + 1) * CHUNK]
            if hashlib.sha256(chunk).digest() != self.leaves[i * DIGEST : (i + 1) * DIGEST]:
                raise WrongBytes(f"leaf {i} of {self.cid} does not match its digest")
            with self._lock:
                if self.closed:
                    return
                write_all(self.fd, chunk, i * CHUNK)
                self._done[i] = 1

    def close(self) -> None:
        """Give the room back; the file goes unless it was renamed into the store."""
        with self._lock:
            if self.closed:
                return
            os.close(self.fd)
            self.fd = -1
        self.path.unlink(missing_ok=True)
        self._reservation.close()
