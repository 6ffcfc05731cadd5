"""The blobs of this node on disk: plain read-only files named by their CIDs, within a quota.

Layout under the root: `files/<cid>`, `tmp/` for files that are being written (emptied at start), `index.sqlite`.
A file enters `files/` by rename, complete and synced, so its presence is the truth and the index only a cache.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.blobs.deleting import Deleter
from agent.blobs.faults import disk_error, missing, no_room, quota_full, too_large, wrong_size
from agent.blobs.hashing import Hashed, copy_fd, hash_bytes, write_all
from agent.blobs.incoming import Incoming, Reservation, WrongBytes, lacking, receive, temporary
from agent.blobs.index import Index
from agent.blobs.registry import ROUNDS, Registry
from agent.errors import BlobError
from agent.files import sync_folder
from agent.model.cid import is_cid, parse_cid

logger = logging.getLogger(__name__)

MAX_BLOB = 4 * 1024**3
"""Largest blob in bytes that a store takes: the digests of its leaves (512 KiB) fit one message of the mesh.

An event names smaller blobs only (`model.event.MAX_EVENT_BLOB`)."""
THREADS = 4
FRESH = 4
FRESH_SIZE = 192 * 1024
"""The newest blobs, at most FRESH of at most FRESH_SIZE bytes, are read from memory: a new photo is sent on at once."""
T = TypeVar("T")


class Usage(msgspec.Struct, frozen=True):
    """Bytes stored, bytes allowed, number of blobs, and how many of them are never evicted."""

    bytes: int
    quota: int
    count: int
    pinned: int


class BlobStore:
    """Blobs on disk; every method may be called from the event loop, the long methods work in threads.

    When the quota is full, the least recently used blobs are deleted, except those that `needs` keeps.
    """

    def __init__(self, root: Path, quota: int) -> None:
        """Open or make the store under `root`; `quota` is in bytes. Raises BlobError where the folder is unusable."""
        self.root = root
        self.quota = quota
        self._files = root / "files"
        self._tmp = root / "tmp"
        self.needs = Registry()
        self._deleter = Deleter(self)
        self._lock = threading.RLock()
        """Held while a blob is checked for needs and deleted, and while a blob is pinned."""
        self._touched: dict[str, int] = {}
        self._fresh: dict[str, bytes] = {}
        self._reserved = 0
        self._renamed = 0
        self._synced = 0
        self._sync_lock = asyncio.Lock()
        try:
            for folder in (root, self._files, self._tmp):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in self._tmp.iterdir():
                left.unlink()
            self._index = Index(root / "index.sqlite", self.contents)
        except OSError as error:
            raise disk_error(error) from error
        self._count, self._bytes = self._index.totals()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    def close(self) -> None:
        """Wait for writes under way, then close the index."""
        self._pool.shutdown()
        with self._lock:
            self._flush_touched()
            self._index.close()

    # -- storing ------------------------------------------------------------------------------------

    async def put(self, data: bytes, *, owner: str | None = None, expect: str | None = None) -> tuple[str, int]:
        """Store bytes durably; returns (cid, size). Raises BlobError (`blob.quota`, `blob.too-large`, `blob.disk`).

        With `owner` the blob is pinned before it can be evicted; with `expect` any other CID is WrongBytes.
        """

        def work() -> Hashed:
            hashed = hash_bytes(data)
            if expect not in (None, hashed.cid):
                raise WrongBytes(f"the bytes are those of {hashed.cid}")

            def write(fd: int) -> Hashed:
                write_all(fd, data)
                return hashed

            return self._store(len(data), write, owner, known=hashed)

        cid, size = await self._durably(work)
        if size <= FRESH_SIZE:
            with self._lock:
                self._fresh[cid] = data
                if len(self._fresh) > FRESH:
                    del self._fresh[next(iter(self._fresh))]
        return cid, size

    async def put_fd(self, fd: int, *, limit: int = MAX_BLOB, owner: str | None = None) -> tuple[str, int]:
        """Copy an open regular file from its position on, hashing it; raises BlobError above `limit` bytes."""
        copy = os.dup(fd)

        def work() -> Hashed:
            try:
                size = os.fstat(copy).st_size
                if size > limit:
                    raise too_large(size, limit)
                return self._store(size, lambda target: copy_fd(copy, target, limit), owner)
            finally:
                os.close(copy)

        return await self._durably(work)

    async def put_file(self, path: Path, *, owner: str | None = None) -> tuple[str, int]:
        """Copy a file into the store; raises BlobError (`blob.disk`) where it cannot be read."""

        def work() -> Hashed:
            with path.open("rb", buffering=0) as file:
                fd = file.fileno()
                return self._store(os.fstat(fd).st_size, lambda target: copy_fd(fd, target, MAX_BLOB), owner)

        return await self._durably(work)

    async def put_stream(
        self, pieces: Iterable[bytes], *, room: int, limit: int = MAX_BLOB, owner: str | None = None
    ) -> tuple[str, int]:
        """Store bytes whose number is not known before the last of them came; returns (cid, size).

        `room` bytes are reserved at once, and more when needed. `pieces` is read in a thread and may raise. Raises BlobError."""

        def end(path: Path, fd: int, hashed: Hashed) -> None:
            if not self._keep(hashed.cid, owner):
                os.fsync(fd)
                self._adopt(path, fd, hashed, owner)

        return await self._durably(lambda: receive(pieces, self._tmp, self._reserve, room, limit, end))

    async def begin(self, cid: str, size: int) -> Incoming:
        """Room for a blob that arrives in pieces; raises BlobError where it can never fit."""
        parse_cid(cid)
        return await self._run(lambda: Incoming(self._tmp, cid, size, self._reserve(size)))

    async def verify_into(self, incoming: Incoming, first: int, data: bytes) -> None:
        """Verify whole leaves from leaf `first` on and write them; raises WrongBytes."""
        await self._run(lambda: incoming.write(first, data))

    async def commit(self, incoming: Incoming, *, owner: str | None = None) -> Path:
        """Make a complete `incoming` a blob of this store, durably."""
        if incoming.missing():
            raise BlobError(f"{len(incoming.missing())} leaves of {incoming.cid} are missing", code="blob.incomplete")

        def work() -> Hashed:
            os.fsync(incoming.fd)
            hashed = Hashed(incoming.cid, incoming.size, incoming.leaves)
            self._adopt(incoming.path, incoming.fd, hashed, owner)
            incoming.close()
            return hashed

        await self._durably(work)
        return self._files / incoming.cid

    # -- reading ------------------------------------------------------------------------------------

    def has(self, cid: str) -> bool:
        """Whether the blob is here, complete."""
        return parse_cid(cid) is not None and (self._files / cid).is_file()

    def path(self, cid: str) -> Path:
        """The read-only file of a blob, and a sign that it is in use; raises BlobError (`blob.missing`)."""
        if not self.has(cid):
            raise missing(cid)
        with self._lock:
            self._touched[cid] = self._index.tick()
            if len(self._touched) >= 1024:
                self._flush_touched()
        return self._files / cid

    def size(self, cid: str) -> int:
        """Bytes of a blob; raises BlobError (`blob.missing`)."""
        parse_cid(cid)
        try:
            return (self._files / cid).stat().st_size
        except FileNotFoundError:
            raise missing(cid) from None

    def check_size(self, cid: str, declared: int | None) -> None:
        """Raise BlobError (`blob.size`, `blob.missing`) unless the blob here has as many bytes as declared; None fits all."""
        if declared is not None and (size := self.size(cid)) != declared:
            raise wrong_size(cid, size, declared)

    async def read(self, cid: str) -> bytes:
        """All bytes of a blob; raises BlobError (`blob.missing`)."""
        path = self.path(cid)
        if (data := self._fresh.get(cid)) is not None:
            return data
        return await self._run(path.read_bytes, cid)

    async def read_at(self, cid: str, offset: int, length: int) -> bytes:
        """Bytes from the middle of a blob, fewer at its end; raises BlobError (`blob.missing`)."""
        path = self.path(cid)

        def work() -> bytes:
            with path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), length, offset)

        return await self._run(work, cid)

    async def leaves(self, cid: str) -> tuple[bytes, int]:
        """The digests of a blob's leaves and its size; computed again, and checked, where they are not known."""
        size = self.size(cid)
        with self._lock:
            known = self._index.leaves(cid)
        if known is not None:
            return known, size
        path = self.path(cid)

        def work() -> Hashed:
            with path.open("rb", buffering=0) as file:
                return copy_fd(file.fileno(), None, MAX_BLOB)

        hashed = await self._run(work, cid)
        if hashed.cid != cid:
            raise BlobError(f"the file of {cid} is damaged", code="blob.damaged", hint="delete it and fetch it again")
        with self._lock:
            self._index.add(*hashed)
        return hashed.leaves, hashed.size

    # -- keeping ------------------------------------------------------------------------------------

    def pin(self, cid: str, owner: str) -> None:
        """Keep this blob, here or still to come, until `owner` lets go of it."""
        parse_cid(cid)
        with self._lock:
            self.needs.pins.pin(cid, owner)

    def unpin(self, owner: str) -> None:
        """Let go of everything that `owner` pinned."""
        with self._lock:
            self.needs.pins.unpin(owner)

    def pinned(self, cid: str) -> bool:
        """Whether the blob is never evicted."""
        return self.needs.needed(cid, evicting=ROUNDS[-1])

    async def delete(self, cid: str) -> None:
        """Delete the blob now and durably, unless it is needed; nothing happens when it is not here."""
        parse_cid(cid)

        def work() -> None:
            with self._lock:
                if not self.needs.needed(cid):
                    self._remove(cid)

        await self._run(work)
        await self._sync_folder()

    def release(self, cids: Iterable[str], *, after: asyncio.Future[Any] | None = None) -> asyncio.Task[None]:
        """Delete in the background, as `Deleter.release` does."""
        return self._deleter.release(cids, after=after)

    def retry(self) -> None:
        """Try again to delete blobs that could not be deleted."""
        self._deleter.retry()

    @property
    def stored(self) -> int:
        """Bytes of all blobs here."""
        return self._bytes

    def usage(self) -> Usage:
        """How full the store is. Asks about every blob: for people, not for loops."""
        with self._lock:
            cids = [cid for cid, _ in self._index.oldest()]
        return Usage(self._bytes, self.quota, self._count, sum(map(self.pinned, cids)))

    # -- inside -------------------------------------------------------------------------------------

    def _store(
        self, size: int, write: Callable[[int], Hashed], owner: str | None, known: Hashed | None = None
    ) -> Hashed:
        if known is not None and self._keep(known.cid, owner):
            return known
        with self._reserve(size) as _, temporary(self._tmp) as (fd, path):
            hashed = write(fd)
            if self._keep(hashed.cid, owner):
                return hashed
            os.fsync(fd)
            self._adopt(path, fd, hashed, owner)
            return hashed

    def _keep(self, cid: str, owner: str | None) -> bool:
        """Whether the blob is already here; then it is used now, and pinned for `owner`."""
        with self._lock:
            if not (self._files / cid).is_file():
                return False
            if owner is not None:
                self.pin(cid, owner)
            self._touched[cid] = self._index.tick()
            self._renamed += 1
            return True

    def _adopt(self, path: Path, fd: int, hashed: Hashed, owner: str | None) -> None:
        # Programs in containers run as nobody and see this file itself; the folder above is 0700.
        os.fchmod(fd, 0o444)
        with self._lock:
            if owner is not None:
                self.pin(hashed.cid, owner)
            target = self._files / hashed.cid
            new = not target.exists()
            path.replace(target)
            if new:
                self._index.add(*hashed)
                self._count += 1
                self._bytes += hashed.size
            self._renamed += 1

    def _reserve(self, size: int) -> Reservation:
        """Make room for `size` more bytes, evicting blobs that are not needed; raises BlobError (`blob.quota`, `blob.disk`).

        A blob that does not fit the disk is refused before its file is made: a file that is still to be filled takes no room,
        so the disk, with the journal on it, would fill on the way.
        """
        if size > MAX_BLOB:
            raise too_large(size, MAX_BLOB)
        with self._lock:
            over = self._bytes + self._reserved + size - self.quota
            short = lacking(self._tmp, self._reserved, size)
            if over > 0 or short > 0:
                self._flush_touched()
                self._evict(max(over, short), quota_full(self.quota) if over >= short else no_room(size))
                if lacking(self._tmp, self._reserved, size) > 0:
                    raise no_room(size)
            self._reserved += size
        return Reservation(self._release, size)

    def _evict(self, wanted: int, refusal: BlobError) -> None:
        doomed: dict[str, int] = {}
        for evicting in ROUNDS:
            for cid, size in self._index.oldest():
                if wanted <= 0:
                    break
                if cid not in doomed and not self.needs.needed(cid, evicting=evicting):
                    doomed[cid] = evicting
                    wanted -= size
        if wanted > 0:
            raise refusal
        for cid, evicting in doomed.items():
            if evicting == ROUNDS[-1]:
                logger.warning("%s, added by hand, was deleted to make room; raise blobs.quota to keep more", cid)
            self._remove(cid)

    def _remove(self, cid: str) -> None:
        try:
            size = (self._files / cid).stat().st_size
            (self._files / cid).unlink()
        except FileNotFoundError:
            return
        self._touched.pop(cid, None)
        self._fresh.pop(cid, None)
        self._index.remove(cid)
        self._count -= 1
        self._bytes -= size
        self._renamed += 1

    def _release(self, size: int) -> None:
        with self._lock:
            self._reserved -= size

    def _flush_touched(self) -> None:
        if self._touched:
            self._index.touch(self._touched)
            self._touched = {}

    def contents(self) -> dict[str, int]:
        """The CIDs of all blobs here with their sizes in bytes. Reads the disk."""
        # File systems put other names here, such as lost+found or .nfs….
        with os.scandir(self._files) as entries:
            return {e.name: e.stat(follow_symlinks=False).st_size for e in entries if is_cid(e.name)}

    async def _durably(self, work: Callable[[], Hashed]) -> tuple[str, int]:
        hashed = await self._run(work)
        await self._sync_folder()
        return hashed.cid, hashed.size

    async def _sync_folder(self) -> None:
        """Sync the folder of names; calls that wait meanwhile share the next sync."""
        ticket = self._renamed
        async with self._sync_lock:
            if self._synced >= ticket:
                return
            until = self._renamed
            await self._run(lambda: sync_folder(self._files))
            self._synced = until

    async def _run(self, work: Callable[[], T], reads: str = "") -> T:
        """Run it in a thread; `reads` is the CID of the blob whose file it opens."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except OSError as error:
            raise missing(reads) if reads and isinstance(error, FileNotFoundError) else disk_error(error) from error
