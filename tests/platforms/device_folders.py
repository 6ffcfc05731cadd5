"""Devices as folders: see devices/README.md."""

from __future__ import annotations

from pathlib import Path

from agent.platforms import Host, Platform, Space, detect

FOLDER = Path(__file__).parent / "devices"
NAMES = sorted(p.name for p in FOLDER.iterdir() if p.is_dir())


def space_in(df: str, path: Path) -> Space:
    """The space of the file system of a path, in the output of `df -kP`."""
    rows = [line.split() for line in df.splitlines()[1:]]
    point = max((p for p in (path, *path.parents) if any(str(p) == r[5] for r in rows)), key=lambda p: len(p.parts))
    row = next(r for r in rows if r[5] == str(point))
    return Space(int(row[1]) * 1024, int(row[3]) * 1024)


def host_of(name: str, root: Path | None = None) -> Host:
    """The device as the rules see it."""
    df = (FOLDER / name / "df").read_text()
    return Host(root or FOLDER / name / "root", space=lambda path: space_in(df, path))


def detected(name: str) -> Platform:
    """The device, detected."""
    host = host_of(name)
    return detect(host.root, {}, (FOLDER / name / "machine").read_text().strip(), space=host.space)
