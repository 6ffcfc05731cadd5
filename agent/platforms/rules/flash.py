"""How much durable space is there?"""

from __future__ import annotations

from pathlib import Path

from agent.platforms.facts import Host, Space

SMALL = 64 << 20
"""A file system with fewer bytes holds identity and configuration alone: an unpacked agent has 51 MB, and journals wear flash out.

The writable part of access points with 16 to 32 MB of flash has 3.6 to 15 MB.
"""


def flash(host: Host, folder: Path) -> Space:
    """The space of the file system of a folder."""
    return host.space(folder)


def is_small(space: Space) -> bool:
    """Whether it has room for identity and configuration alone."""
    return 0 < space.total < SMALL
