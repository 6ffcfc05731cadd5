"""Whether files survive a power cut: not on a file system in RAM, which is where OpenWrt and small access points have /tmp."""

from __future__ import annotations

import os
import re
from pathlib import Path

_IN_RAM = frozenset({"tmpfs", "ramfs", "rootfs"})
_UPPER = re.compile(r"(?:^|,)upperdir=([^,]*)")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def survives_power_cut(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """False where the file system of `folder` (or of its nearest parent that exists) is in RAM, as far as `mounts` says it.

    An overlay is in RAM where its upper folder is; OpenWrt starts so when its flash cannot be used. Never raises.
    """
    there = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    try:
        table = [_mount(line) for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:
        return True
    return _survives(Path(os.path.realpath(there)), [m for m in table if m is not None], depth=0)


def _survives(folder: Path, table: list[tuple[Path, str, str]], depth: int) -> bool:
    # The last of several mounts on one folder is on top.
    best = max((m for m in reversed(table) if folder.is_relative_to(m[0])), key=lambda m: len(m[0].parts), default=None)
    if best is None:
        return True
    _, kind, options = best
    if kind == "overlay" and depth < 4 and (upper := _UPPER.search(options)):
        return _survives(Path(upper[1]), table, depth + 1)
    return kind not in _IN_RAM


def _mount(line: str) -> tuple[Path, str, str] | None:
    """Mount point, type and options of the file system in a line of mountinfo (proc(5)); None for another line."""
    before, found, after = line.partition(" - ")
    words, rest = before.split(" "), after.split(" ")
    if not found or len(words) < 5 or len(rest) < 3:
        return None
    return Path(_ESCAPED.sub(lambda m: chr(int(m[1], 8)), words[4])), rest[0], rest[2]
