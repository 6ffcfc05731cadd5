"""The V4L2 cameras of this machine, from sysfs; nothing is opened."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

SYSFS = Path("/sys/class/video4linux")


class Device(msgspec.Struct, frozen=True):
    """A V4L2 device: its source as `camera add` takes it, and the name that its driver gives."""

    source: str
    text: str


def probe(sysfs: Path = SYSFS) -> list[Device]:
    """The V4L2 devices. A camera's second node, for metadata, has an index above 0 and is left out."""
    found: list[tuple[int, Device]] = []
    for entry in sysfs.iterdir() if sysfs.is_dir() else []:
        if (match := re.fullmatch(r"video(\d+)", entry.name)) and _read(entry / "index") in ("0", ""):
            found.append((int(match[1]), Device(f"/dev/{entry.name}", _read(entry / "name") or entry.name)))
    return [device for _, device in sorted(found, key=lambda item: item[0])]


def _read(path: Path) -> str:
    try:
        text = path.read_text(errors="replace").strip()
    except OSError:  # it was unplugged meanwhile
        return ""
    return "".join(c for c in text if c.isprintable())[:80]
