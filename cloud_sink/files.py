"""Folders that only the sink reads."""

from __future__ import annotations

from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make the folder, 0700."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
