"""Files of a log that were seen while an older one was read: of those that are gone later the size is known."""

from __future__ import annotations

import os
from collections.abc import Iterable

from agent.sources.rotated import first_bytes

MOST = 64
"""Files whose sizes are remembered."""


class SeenFiles:
    """Sizes as last seen, by the first bytes of the files: inodes are used again."""

    def __init__(self) -> None:
        self._sizes: dict[bytes, int] = {}

    def see(self, fd: int, others: Iterable[int]) -> None:
        """Remember the open file's size, unless it is one of the `others`, which are open to be read. Raises OSError."""
        head = first_bytes(fd)
        if not head or _is_in(head, others):
            return
        before = next((h for h in self._sizes if head.startswith(h)), b"")
        self._sizes[head] = max(os.fstat(fd).st_size, self._sizes.pop(before, 0))
        if len(self._sizes) > MOST:
            self._sizes.popitem()

    def gone(self, left: Iterable[int]) -> list[int]:
        """The sizes of those that are not among the open files `left`; all are forgotten. Raises OSError."""
        sizes, self._sizes = self._sizes, {}
        return [size for head, size in sizes.items() if not _is_in(head, left)]


def _is_in(head: bytes, others: Iterable[int]) -> bool:
    return any(first_bytes(fd).startswith(head) for fd in others if fd >= 0)
