"""The rotated files beside a log: `messages.1`, `messages-20260301`, `messages.old`; of compressed files only the size is told."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

_PACKED = re.compile(r"(?P<suffix>.+)\.(?P<kind>gz|xz|zst|bz2|lz4|Z)\Z")
_SUFFIX = re.compile(r"[.-](?:(?P<number>\d{1,4})|\d[\dT:._-]*|old|bak|prev)\Z")


HEAD = 128
"""Bytes at the start of a file that tell it from others of its log."""


def first_bytes(fd: int) -> bytes:
    """The start of an open file; raises OSError."""
    return os.pread(fd, HEAD, 0)


class RotatedFile(NamedTuple):
    """A rotated file at the time of the listing; `age` is minus the number in its name: the lower, the older."""

    mtime: int
    age: int
    path: Path
    device: int
    inode: int
    size: int


def rotated_files(path: Path) -> list[RotatedFile]:
    """The rotated files of this log, the most recently written last."""
    found = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                if not entry.name.startswith(path.name):
                    continue
                match = _SUFFIX.fullmatch(entry.name[len(path.name) :])
                if match is None:
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    age = -int(match["number"] or 0)
                    place = Path(entry.path)
                    found.append(
                        RotatedFile(status.st_mtime_ns, age, place, status.st_dev, status.st_ino, status.st_size)
                    )
    except FileNotFoundError:
        pass
    return sorted(found)


class PackedFile(NamedTuple):
    """A compressed rotated file: its time, and the bytes of log in it, or the file's own where they are not known."""

    mtime: int
    size: int


def compressed_files(path: Path) -> list[PackedFile]:
    """The compressed rotated files of this log; the times are those of the log, to the end of their second."""
    found = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                match = _PACKED.fullmatch(entry.name[len(path.name) :]) if entry.name.startswith(path.name) else None
                if match is None or not _SUFFIX.fullmatch(match["suffix"]):
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    size = _gzip_size(Path(entry.path)) if match["kind"] == "gz" else 0
                    found.append(PackedFile(status.st_mtime_ns + 999_999_999, max(size, status.st_size)))
    except OSError:
        pass
    return found


def _gzip_size(path: Path) -> int:
    """The size of the uncompressed data, modulo 2³²: the last four bytes of the file (RFC 1952)."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b" or file.seek(0, os.SEEK_END) < 18:
            return 0
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")
