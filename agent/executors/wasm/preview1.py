"""WASI preview 1 in Python, for an engine without it: files by descriptors of folders, links never followed.

Numbers and layouts: WebAssembly/WASI, `legacy/preview1/docs.md`. It has the functions that commands need; the others
answer ENOSYS. It runs in a worker under resource limits (`child.py`), never in the agent.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agent.executors.record import STREAMS
from agent.executors.wasm.sandbox import Call, Take

ACCES, BADF, INVAL, IO, MFILE = 2, 8, 28, 29, 33
NOSYS, NOTDIR, NOTSUP, PERM, ROFS, SPIPE, NOTCAPABLE, FBIG = 52, 54, 58, 63, 69, 70, 76, 22
_ERRNO = {
    errno.ENOENT: 44, errno.EACCES: ACCES, errno.EEXIST: 20, errno.EISDIR: 31, errno.ENOTDIR: NOTDIR,
    errno.ENOSPC: 51, errno.EPERM: PERM, errno.EPIPE: 64, errno.EFBIG: FBIG, errno.ELOOP: 32, errno.EMFILE: MFILE,
    errno.EROFS: ROFS, errno.EINVAL: INVAL, errno.EBADF: BADF, errno.ESPIPE: SPIPE, errno.ENOTEMPTY: 55,
    errno.ENAMETOOLONG: 37, errno.EXDEV: 75,
}  # fmt: skip
_RIGHT_READ, _RIGHT_WRITE = 1 << 1, 1 << 6
_CREATE, _DIRECTORY, _EXCLUSIVE, _TRUNCATE = 1, 2, 4, 8
_APPEND = 1
_ALL_RIGHTS = (1 << 30) - 1
_CLOSED = os.O_NOFOLLOW | os.O_CLOEXEC
MAX_OPEN = 64
"""Most files that a program may hold open."""


class WasiError(Exception):
    """An errno of preview 1."""


class Exit(BaseException):
    """The program called proc_exit. It is not an Exception, so that no handler on the way takes it for a failure."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Stream:
    """stdin from bytes, or an output that is cut at its limit; `take` gets whole lines as they are written.

    With `path` an output goes to this file and is not kept.
    """

    def __init__(
        self, data: bytes = b"", limit: int = -1, take: Callable[[bytes], None] | None = None, path: Path | None = None
    ) -> None:
        self.data = bytearray(data)
        self.limit = limit
        self.at = 0
        self.overrun = False
        self._take = take
        self._file = path.open("wb", buffering=0) if path is not None else None
        self._written = 0

    def read(self, size: int) -> bytes:
        part = bytes(self.data[self.at : self.at + size])
        self.at += len(part)
        return part

    def write(self, data: bytes) -> int:
        if self._written + len(data) > self.limit:
            self.overrun = True
            raise WasiError(FBIG)
        if self._file is not None:
            written = self._file.write(data) or 0
            self._written += written
            return written
        self._written += len(data)
        self.data += data
        if self._take is not None and b"\n" in data:
            end = self.data.rfind(b"\n") + 1
            self._take(bytes(self.data[self.at : end]))
            self.at = end
        return len(data)

    def rest(self) -> bytes:
        """An output's bytes that were not taken."""
        return bytes(self.data[self.at :])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _File:
    """An open file or folder of the host."""

    def __init__(self, fd: int, *, writable: bool, preopen: bytes = b"") -> None:
        self.fd = fd
        self.writable = writable
        self.preopen = preopen


class Preview1:
    """The functions by their names in the specification; `memory` gives the guest's memory as it is now."""

    def __init__(self, call: Call, memory: Callable[[], Any], take: Take) -> None:
        self._memory = memory
        self._argv = [a.encode() + b"\0" for a in call.argv]
        self._env = [f"{k}={v}".encode() + b"\0" for k, v in call.env]
        follow = {stream: partial(take, stream) for stream in call.follow}
        files = {stream: Path(call.root) / stream for stream in STREAMS if call.root}
        self.stdout = _Stream(limit=call.stdout, take=follow.get("stdout"), path=files.get("stdout"))
        self.stderr = _Stream(limit=call.stderr, take=follow.get("stderr"), path=files.get("stderr"))
        self._fds: dict[int, _Stream | _File] = {0: _Stream(call.stdin), 1: self.stdout, 2: self.stderr}
        for d in call.dirs:
            fd = os.open(d.host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._fds[len(self._fds)] = _File(fd, writable=d.writable, preopen=d.guest.encode())
        self._next = len(self._fds)

    def close(self) -> None:
        """Close the program's open files."""
        for file in self._fds.values():
            if isinstance(file, _File):
                os.close(file.fd)
        self._fds.clear()
        self.stdout.close()
        self.stderr.close()

    def function(self, name: str) -> Callable[..., int]:
        """The import `name` as the engine calls it: numbers in, an errno out."""
        method = getattr(self, name, None) if not name.startswith("_") and name in FUNCTIONS else None

        def call(*arguments: int) -> int:
            if method is None:
                return NOTSUP if name in ("poll_oneoff", "path_symlink", "path_link") else NOSYS
            try:
                method(*arguments)
            except WasiError as e:
                return int(e.args[0])
            except OSError as e:
                return _ERRNO.get(e.errno or 0, IO)
            except (ValueError, struct.error, IndexError, TypeError):
                # Pointers outside its memory and the like: the program's mistake.
                return INVAL
            return 0

        return call

    # Access to the guest's memory.

    def _put(self, at: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, self._memory(), at, *values)

    def _bytes(self, at: int, size: int) -> bytes:
        data = bytes(self._memory()[at : at + size])
        if len(data) != size or size < 0 or at < 0:
            raise WasiError(INVAL)
        return data

    def _write(self, at: int, data: bytes) -> None:
        self._memory()[at : at + len(data)] = data

    def _vectors(self, at: int, count: int) -> list[tuple[int, int]]:
        return list(struct.iter_unpack("<II", self._bytes(at, 8 * count)))

    def _file(self, fd: int) -> _File:
        file = self._fds.get(fd)
        if not isinstance(file, _File):
            raise WasiError(BADF if file is None else SPIPE)
        return file

    # Arguments, environment, clocks, chance.

    def _sizes(self, items: list[bytes], count: int, size: int) -> None:
        self._put(count, "I", len(items))
        self._put(size, "I", sum(map(len, items)))

    def _strings(self, items: list[bytes], pointers: int, buffer: int) -> None:
        for n, item in enumerate(items):
            self._put(pointers + 4 * n, "I", buffer)
            self._write(buffer, item)
            buffer += len(item)

    def args_sizes_get(self, count: int, size: int) -> None:
        self._sizes(self._argv, count, size)

    def args_get(self, pointers: int, buffer: int) -> None:
        self._strings(self._argv, pointers, buffer)

    def environ_sizes_get(self, count: int, size: int) -> None:
        self._sizes(self._env, count, size)

    def environ_get(self, pointers: int, buffer: int) -> None:
        self._strings(self._env, pointers, buffer)

    def clock_time_get(self, clock: int, _precision: int, at: int) -> None:
        self._put(at, "Q", time.time_ns() if clock == 0 else time.monotonic_ns())

    def clock_res_get(self, _clock: int, at: int) -> None:
        self._put(at, "Q", 1000)

    def random_get(self, at: int, size: int) -> None:
        self._write(at, os.urandom(size))

    def sched_yield(self) -> None:
        """Return at once: nothing else runs here."""

    def proc_exit(self, code: int) -> None:
        raise Exit(code)

    # Descriptors.

    def fd_read(self, fd: int, vectors: int, count: int, done: int) -> None:
        total = 0
        for at, size in self._vectors(vectors, count):
            source = self._fds.get(fd)
            part = source.read(size) if isinstance(source, _Stream) else os.read(self._file(fd).fd, size)
            self._write(at, part)
            total += len(part)
            if len(part) < size:
                break
        self._put(done, "I", total)

    def fd_write(self, fd: int, vectors: int, count: int, done: int) -> None:
        total = 0
        for at, size in self._vectors(vectors, count):
            target, data = self._fds.get(fd), self._bytes(at, size)
            total += target.write(data) if isinstance(target, _Stream) else os.write(self._file(fd).fd, data)
        self._put(done, "I", total)

    def fd_pread(self, fd: int, vectors: int, count: int, offset: int, done: int) -> None:
        ((at, size), *_) = self._vectors(vectors, count)
        part = os.pread(self._file(fd).fd, size, offset)
        self._write(at, part)
        self._put(done, "I", len(part))

    def fd_pwrite(self, fd: int, vectors: int, count: int, offset: int, done: int) -> None:
        ((at, size), *_) = self._vectors(vectors, count)
        self._put(done, "I", os.pwrite(self._file(fd).fd, self._bytes(at, size), offset))

    def fd_seek(self, fd: int, offset: int, whence: int, at: int) -> None:
        self._put(at, "Q", os.lseek(self._file(fd).fd, offset, whence))

    def fd_tell(self, fd: int, at: int) -> None:
        self._put(at, "Q", os.lseek(self._file(fd).fd, 0, os.SEEK_CUR))

    def fd_close(self, fd: int) -> None:
        if fd not in self._fds:
            raise WasiError(BADF)
        file = self._fds.pop(fd)
        if isinstance(file, _File):
            os.close(file.fd)

    def fd_sync(self, fd: int) -> None:
        self._file(fd)

    fd_datasync = fd_sync

    def fd_advise(self, fd: int, *_: int) -> None:
        self._file(fd)

    def fd_fdstat_set_flags(self, fd: int, _flags: int) -> None:
        if fd not in self._fds:
            raise WasiError(BADF)

    def fd_fdstat_get(self, fd: int, at: int) -> None:
        file = self._fds.get(fd)
        kind = 2 if isinstance(file, _Stream) else _file_type(os.fstat(self._file(fd).fd).st_mode)
        self._put(at, "BxHxxxxQQ", kind, 0, _ALL_RIGHTS, _ALL_RIGHTS)

    def fd_filestat_get(self, fd: int, at: int) -> None:
        if isinstance(self._fds.get(fd), _Stream):
            self._put(at, "QQB7xQQQQQ", 0, 0, 2, 1, 0, 0, 0, 0)
        else:
            self._filestat(at, os.fstat(self._file(fd).fd))

    def fd_filestat_set_size(self, fd: int, size: int) -> None:
        os.ftruncate(self._file(fd).fd, size)

    def fd_prestat_get(self, fd: int, at: int) -> None:
        self._put(at, "B3xI", 0, len(self._preopen(fd)))

    def fd_prestat_dir_name(self, fd: int, at: int, size: int) -> None:
        self._write(at, self._preopen(fd)[:size])

    def fd_readdir(self, fd: int, buffer: int, size: int, cookie: int, done: int) -> None:
        with os.scandir(self._file(fd).fd) as entries:
            names = sorted(entry.name for entry in entries)
        data = b""
        for n, name in enumerate(names[cookie:], cookie + 1):
            info = os.stat(name, dir_fd=self._file(fd).fd, follow_symlinks=False)
            raw = os.fsencode(name)
            data += struct.pack("<QQIB3x", n, info.st_ino, len(raw), _file_type(info.st_mode)) + raw
            if len(data) >= size:
                break
        self._write(buffer, data[:size])
        self._put(done, "I", min(len(data), size))

    def _preopen(self, fd: int) -> bytes:
        file = self._fds.get(fd)
        if not isinstance(file, _File) or not file.preopen:
            raise WasiError(BADF)
        return file.preopen

    def _filestat(self, at: int, info: os.stat_result) -> None:
        times = info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns
        self._put(
            at, "QQB7xQQQQQ", info.st_dev, info.st_ino, _file_type(info.st_mode), info.st_nlink, info.st_size, *times
        )

    # Paths: one component at a time below a folder, no link followed, no way up.

    @contextmanager
    def _at(self, fd: int, path: int, size: int, *, change: bool) -> Iterator[tuple[int, str]]:
        """(descriptor of the folder that holds it, its last name)."""
        folder = self._file(fd)
        if change and not folder.writable:
            raise WasiError(ROFS)
        text = os.fsdecode(self._bytes(path, size))
        parts = [p for p in text.split("/") if p not in ("", ".")]
        if text.startswith("/") or ".." in parts or "\0" in text:
            raise WasiError(NOTCAPABLE)
        at = os.dup(folder.fd)
        try:
            for part in parts[:-1]:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _CLOSED, dir_fd=at)
                os.close(at)
                at = below
            yield at, parts[-1] if parts else "."
        finally:
            os.close(at)

    def path_open(
        self, fd: int, _look: int, path: int, size: int, how: int, rights: int, _inherit: int, flags: int, out: int
    ) -> None:
        if len(self._fds) >= MAX_OPEN:
            raise WasiError(MFILE)
        write = bool(rights & _RIGHT_WRITE) and not how & _DIRECTORY
        mode = os.O_RDONLY if not write else os.O_RDWR if rights & _RIGHT_READ else os.O_WRONLY
        for bit, flag in ((_CREATE, os.O_CREAT), (_DIRECTORY, os.O_DIRECTORY), (_EXCLUSIVE, os.O_EXCL)):
            mode |= flag if how & bit else 0
        mode |= (os.O_TRUNC if how & _TRUNCATE else 0) | (os.O_APPEND if flags & _APPEND else 0)
        change = write or bool(how & (_CREATE | _TRUNCATE))
        with self._at(fd, path, size, change=change) as (at, name):
            opened = os.open(name, mode | _CLOSED | os.O_NONBLOCK, 0o644, dir_fd=at)
        kind = os.fstat(opened).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            os.close(opened)
            raise WasiError(ACCES)
        self._fds[self._next] = _File(opened, writable=self._file(fd).writable)
        self._put(out, "I", self._next)
        self._next += 1

    def path_filestat_get(self, fd: int, _flags: int, path: int, size: int, out: int) -> None:
        with self._at(fd, path, size, change=False) as (at, name):
            self._filestat(out, os.stat(name, dir_fd=at, follow_symlinks=False))

    def path_unlink_file(self, fd: int, path: int, size: int) -> None:
        with self._at(fd, path, size, change=True) as (at, name):
            os.unlink(name, dir_fd=at)

    def path_create_directory(self, fd: int, path: int, size: int) -> None:
        with self._at(fd, path, size, change=True) as (at, name):
            os.mkdir(name, 0o755, dir_fd=at)

    def path_remove_directory(self, fd: int, path: int, size: int) -> None:
        with self._at(fd, path, size, change=True) as (at, name):
            os.rmdir(name, dir_fd=at)

    def path_rename(self, fd: int, path: int, size: int, new_fd: int, new_path: int, new_size: int) -> None:
        with (
            self._at(fd, path, size, change=True) as (at, name),
            self._at(new_fd, new_path, new_size, change=True) as (new_at, new_name),
        ):
            os.rename(name, new_name, src_dir_fd=at, dst_dir_fd=new_at)


FUNCTIONS = tuple(n for n in vars(Preview1) if not n.startswith("_") and n not in ("close", "function"))
"""The functions of this module."""
REFUSED = (
    *("fd_allocate", "fd_fdstat_set_rights", "fd_filestat_set_times", "fd_renumber", "path_filestat_set_times"),
    *("path_link", "path_readlink", "path_symlink", "poll_oneoff", "proc_raise"),
    *("sock_accept", "sock_recv", "sock_send", "sock_shutdown"),
)
"""The functions that answer ENOSYS, or ENOTSUP where the wasmtime sandbox does so too."""


def _file_type(mode: int) -> int:
    kinds = ((stat.S_ISDIR, 3), (stat.S_ISREG, 4), (stat.S_ISLNK, 7), (stat.S_ISCHR, 2))
    return next((number for is_kind, number in kinds if is_kind(mode)), 0)
