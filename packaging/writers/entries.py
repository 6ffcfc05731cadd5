"""The things that a package puts onto a machine: folders, files and links, in one order."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 1767225600)
"""Unix time of every file in a package (2026-01-01), so that equal trees make equal packages."""
PIECE = 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """A folder (no content, no target), a file (content: its bytes, or the file that holds them) or a link (target).

    `path` is relative to the root, with `/`, without `.` and `..`.
    """

    path: str
    mode: int = 0o755
    content: bytes | Path | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if "" in parts or "." in parts or ".." in parts or "\0" in self.path or "\n" in self.path:
            raise ValueError(f"{self.path!r} is not a path in a package")

    @property
    def is_folder(self) -> bool:
        """Neither a file nor a link."""
        return self.content is None and self.target is None

    @property
    def size(self) -> int:
        """Bytes of a file, 0 for everything else."""
        if isinstance(self.content, Path):
            return self.content.stat().st_size
        return len(self.content or b"")

    def pieces(self) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB."""
        if isinstance(self.content, Path):
            with self.content.open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        elif self.content:
            yield self.content


def file(path: str, content: str | bytes, mode: int = 0o644) -> Entry:
    """A small file."""
    return Entry(path, mode, content.encode() if isinstance(content, str) else content)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, 0o777, target=target)


def tree(folder: Path, at: str) -> list[Entry]:
    """The entries of a folder, below `at`; modes become 0755 or 0644. Raises ValueError for a device, a socket or a pipe."""
    found = [Entry(at)]
    for path in sorted(folder.rglob("*")):
        name = f"{at}/{path.relative_to(folder).as_posix()}"
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found.append(link(name, str(path.readlink())))
        elif stat.S_ISDIR(mode):
            found.append(Entry(name))
        elif stat.S_ISREG(mode):
            found.append(Entry(name, 0o755 if mode & 0o100 else 0o644, path))
        else:
            raise ValueError(f"{path} is neither a file, a folder nor a link")
    return found


def complete(entries: Iterable[Entry]) -> list[Entry]:
    """The entries in the order of their paths' parts, each folder before its content, parents added; raises ValueError for
    two things at one path, or something below a file.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in found:
            raise ValueError(f"{entry.path} is in the package twice")
        found[entry.path] = entry
    for path in list(found):
        parts = path.split("/")
        for parent in ("/".join(parts[:n]) for n in range(1, len(parts))):
            if not found.setdefault(parent, Entry(parent)).is_folder:
                raise ValueError(f"{parent} is not a folder")
    return [found[path] for path in sorted(found, key=lambda p: p.split("/"))]


def unpacked(entries: Iterable[Entry]) -> int:
    """Bytes of all files, at least 1."""
    return sum(e.size for e in entries) or 1
