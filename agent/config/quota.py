"""Defaults that depend on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

MOST = 5_000_000_000
"""Most bytes of blobs that a node keeps unless its configuration says otherwise."""


def blob_quota(configured: int, folder: Path) -> int:
    """The quota in bytes: the configured one, or the lesser of 5 GB and 10 % of the free space at `folder`."""
    if configured:
        return configured
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return min(MOST, shutil.disk_usage(folder).free // 10)
