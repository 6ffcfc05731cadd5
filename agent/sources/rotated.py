"""The rotated files beside a log: `messages.1`, `messages-20260301`, `messages.old`; compressed files are ignored."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

_SUFFIX = re.compile(r"[.-](?:(?P<number>\d{1,4})|\d[\dT:._-]*|old|bak|prev)\Z")


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
