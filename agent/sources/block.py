"""Blocks of a log file. Large blocks use their memory again: the kernel takes longer to give new memory than to read."""

from __future__ import annotations

import os
import sys
from typing import cast

PEEK = 4096
"""Bytes at the end of a large block that are searched for the last newline."""


class BlockReader:
    """Reads blocks of files. It keeps the memory of two large blocks: a thread may hold the last one for a moment longer."""

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def read(self, fd: int, offset: int, most: int) -> tuple[bytes, bool]:
        """At most `most` bytes from `offset` on, and whether they reach to the end of the file.

        From the middle of a backlog it ends with a line: looking for its end first is cheaper than copying megabytes. Such a block
        is a bytearray, to be used like bytes; it keeps its bytes while anything refers to it.
        """
        left = max(0, os.fstat(fd).st_size - offset)  # truncated meanwhile, it ends before
        if left <= most:
            self._kept.clear()
            room = min(left + PEEK, most)
            block = os.pread(fd, room, offset)
            return block, len(block) < room
        newline = os.pread(fd, PEEK, offset + most - PEEK).rfind(b"\n")
        large = self._memory(most, most if newline < 0 else most - PEEK + newline + 1)
        del large[os.preadv(fd, [large], offset) :]
        return cast(bytes, large), False

    def _memory(self, most: int, size: int) -> bytearray:
        """Memory of `size` bytes, with room for `most`, that nothing else refers to."""
        for at, length in enumerate(map(len, self._kept)):
            if _references(self._kept, at) == _ALONE and most - PEEK <= length <= most:
                block = self._kept[at]
                break
        else:
            block = bytearray(most)
            self._kept = [*self._kept[-1:], block]
        del block[size:]  # its memory stays
        block += bytes(max(0, size - len(block)))
        return block


def _references(blocks: list[bytearray], at: int) -> int:
    return sys.getrefcount(blocks[at])


_ALONE = _references([bytearray()], 0)
"""The references to a block that only a list has; what the call itself counts depends on the version of Python."""
