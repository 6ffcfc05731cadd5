"""A place in a log file that can be found again: after a restart, under another name, or in a copy."""

from __future__ import annotations

import hashlib
import os

import msgspec

from agent.errors import ConfigError
from agent.sources.batch import Position

PROBE = 256
"""Bytes at the start of the file, and before the place, that identify it."""
REMEMBERED = 8
"""Finished files that are remembered, so that they are not read again."""


class Mark(msgspec.Struct, omit_defaults=True):
    """The place where reading stopped. `generation` is random; `offset`, `size` and `mtime` (ns) are as last seen.

    `head` and `tail` are hashes of the first and the last PROBE bytes before `offset`; `skip` says that
    the place is within a line that was cut; `done` identifies the files that were read before this one.
    """

    generation: str
    device: int = 0
    inode: int = 0
    offset: int = 0
    size: int = 0
    mtime: int = 0
    head: str = ""
    tail: str = ""
    skip: bool = False
    done: list[str] = []


def load_mark(position: Position | None) -> Mark | None:
    """The mark in a position; raises ConfigError where it is the position of another kind of source."""
    if position is None:
        return None
    try:
        return msgspec.convert(position.get("file"), Mark)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the saved position is not a position in a file: {error}", hint="rename the step, or reset its position"
        ) from error


def new_generation() -> str:
    """A random name for the stream of a file."""
    return os.urandom(12).hex()


def bind(mark: Mark, fd: int) -> None:
    """Store the file's identity, size and time of change in the mark; raises OSError."""
    status = os.fstat(fd)
    mark.device, mark.inode = status.st_dev, status.st_ino
    mark.size, mark.mtime = status.st_size, status.st_mtime_ns


def place(mark: Mark, fd: int, offset: int) -> None:
    """Put the mark at `offset` of the open file; raises OSError."""
    bind(mark, fd)
    mark.offset = offset
    mark.head, mark.tail = _probe(fd, offset)


def before(mark: Mark, fd: int) -> bytes:
    """The bytes before the mark that its `tail` identifies."""
    length = min(PROBE, mark.offset)
    return os.pread(fd, length, mark.offset - length)


def moved(mark: Mark, previous: bytes, read: memoryview) -> Mark:
    """The mark after `read`, where `previous` are the bytes before it.

    It is computed from the bytes that were read: the file may be another one by now.
    """
    offset = mark.offset + len(read)
    tail = bytes(read[-PROBE:]) if len(read) >= PROBE else (previous + read)[-PROBE:]
    head = mark.head if mark.offset >= PROBE else _digest((previous + read[:PROBE])[:PROBE])
    return msgspec.structs.replace(mark, offset=offset, head=head, tail=_digest(tail))


def continues(fd: int, mark: Mark) -> bool:
    """Whether the open file still has the bytes that were read before `mark.offset`."""
    return os.fstat(fd).st_size >= mark.offset and _probe(fd, mark.offset) == (mark.head, mark.tail)


def identity(fd: int) -> str:
    """The identity of a finished file: device, inode and first bytes."""
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}:{_digest(os.pread(fd, 64, 0))}"


def _probe(fd: int, offset: int) -> tuple[str, str]:
    length = min(PROBE, offset)
    if length == 0:
        return "", ""
    head = _digest(os.pread(fd, length, 0))
    return head, head if offset == length else _digest(os.pread(fd, length, offset - length))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
