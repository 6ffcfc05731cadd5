"""An initramfs: a cpio archive in the `newc` form (the kernel's driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One file, link or folder of the archive, owned by root."""

    name: str
    mode: int
    data: bytes = b""


def folder(name: str) -> Entry:
    """A folder."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    """A plain file."""
    return Entry(name, stat.S_IFREG | mode, data)


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive, compressed; folders come before their content."""
    made = bytearray()
    for inode, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], 1):
        name = entry.name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device twice (major, minor), length of the name, checksum
        fields = (inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        made += b"070701" + b"".join(b"%08x" % f for f in fields)
        for part in (name, entry.data):
            made += part
            made += b"\0" * (-len(made) % 4)
    return gzip.compress(bytes(made), 1, mtime=0)
