"""How much durable space is there, and does a path lie in memory?"""

from __future__ import annotations

import re
from pathlib import Path

from agent.platforms.facts import Host, Space

SMALL = 64 << 20
"""A file system with fewer bytes holds identity and configuration alone: an unpacked agent has 51 MB, and journals wear flash out.

The writable part of access points with 16 to 32 MB of flash has 3.6 to 15 MB.
"""
IN_MEMORY = ("tmpfs", "ramfs", "rootfs")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def flash(host: Host, folder: Path) -> Space:
    """The space of the file system of a folder."""
    return host.space(folder)


def is_small(space: Space) -> bool:
    """Whether it has room for identity and configuration alone."""
    return 0 < space.total < SMALL


def in_memory(host: Host, folder: Path) -> bool:
    """Whether a folder's files are lost when the power goes, by the table of mounts."""
    best, kind = -1, ""
    wanted = folder if folder.is_absolute() else Path.cwd() / folder
    for line in host.text("/proc/self/mounts").splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(_ESCAPE.sub(lambda m: chr(int(m[1], 8) % 256), parts[1]))
        if (point == wanted or point in wanted.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), parts[2]
    return kind in IN_MEMORY
