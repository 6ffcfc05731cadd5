"""A place in a log file that can be found again: after a restart, under another name, or in a copy."""

from __future__ import annotations

import hashlib
import os

import msgspec

from agent.errors import ConfigError
from agent.sources.batch import Position

PROBE = 256
"""Bytes at the beginning of the file, and before the place, by which it is recognised."""
REMEMBERED = 8
"""Files read to their ends that are remembered, so that they are not read again."""


class Mark(msgspec.Struct, omit_defaults=True):
    """Where reading stopped. `generation` is random; `offset`, `size` and `mtime` (ns) are as last seen.

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
    """The mark in a position; raises ConfigError where the position belongs to something else."""
    if position is None:
        return None
    try:
        return msgspec.convert(position.get("file"), Mark)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the saved position is not one of a file: {error}", hint="rename the step, or reset its position"
        ) from error


def new_generation() -> str:
    """A random name for the stream of a file."""
    return os.urandom(12).hex()


def bind(mark: Mark, fd: int) -> None:
    """Note which file the mark is in, how large it is and when it was written to; raises OSError."""
    status = os.fstat(fd)
    mark.device, mark.inode = status.st_dev, status.st_ino
    mark.size, mark.mtime = status.st_size, status.st_mtime_ns


def place(mark: Mark, fd: int, offset: int) -> None:
    """Put the mark at `offset` of the open file, whatever is there; raises OSError."""
    bind(mark, fd)
    mark.offset = offset
    mark.head, mark.tail = _probe(fd, offset)


def before(mark: Mark, fd: int) -> bytes:
    """The bytes before the mark by which its tail is recognised."""
    length = min(PROBE, mark.offset)
    return os.pread(fd, length, mark.offset - length)


def moved(mark: Mark, previous: bytes, read: memoryview) -> Mark:
    """The mark after `read`, where `previous` are the bytes before it.

    It is computed from what was read, not from the file, which may be another one by now.
    """
    offset = mark.offset + len(read)
    tail = bytes(read[-PROBE:]) if len(read) >= PROBE else (previous + read)[-PROBE:]
    head = mark.head if mark.offset >= PROBE else _digest((previous + read[:PROBE])[:PROBE])
    return msgspec.structs.replace(mark, offset=offset, head=head, tail=_digest(tail))


def continues(fd: int, mark: Mark) -> bool:
    """Whether the open file still holds, before `mark.offset`, what was read there."""
    return os.fstat(fd).st_size >= mark.offset and _probe(fd, mark.offset) == (mark.head, mark.tail)


def identity(fd: int) -> str:
    """By what a finished file is recognised: inode and beginning."""
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
