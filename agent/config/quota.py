"""Defaults that depend on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

MOST = 5_000_000_000
"""Most bytes of blobs that a node keeps unless its configuration says otherwise."""
MOST_LOGS = 64 << 20
"""Most bytes of logs of steps that a node keeps unless its configuration says otherwise."""


def blob_quota(configured: int, folder: Path) -> int:
    """The quota in bytes: the configured one, or the lesser of 5 GB and 10 % of the free space at `folder`."""
    return configured or min(MOST, _free(folder) // 10)


def logs_size(configured: int, folder: Path) -> int:
    """The size of all logs in bytes: the configured one, or the lesser of 64 MiB and 10 % of the space that is free or has logs.

    Access points keep logs in memory: 64 MiB may be half of it.
    """
    if configured:
        return configured
    stored = sum(path.stat().st_size for path in folder.glob("*/*/*"))
    return min(MOST_LOGS, (_free(folder) + stored) // 10)


def _free(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
