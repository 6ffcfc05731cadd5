"""Encoded values in a few large blocks: what waits for long then costs its bytes only.

Python's allocator gives memory back in pieces of 1 MiB, and keeps each piece while one small object in it is in use. Blocks come from
the C library, which gives back every page that is free.
"""

from __future__ import annotations

from array import array

BLOCK = 64 * 1024
"""Bytes after which a block is full."""
MOST = 256
"""Most values of one block: their numbers are small ints, which cost nothing."""


class Block:
    """Some values, by number. It goes when nothing refers to it any more."""

    __slots__ = ("_data", "_ends")

    def __init__(self) -> None:
        self._data = bytearray()
        self._ends = array("Q", (0,))

    @property
    def full(self) -> bool:
        """Whether the next value should go to another block."""
        return len(self._data) >= BLOCK or len(self._ends) > MOST

    def add(self, value: bytes) -> int:
        """Take a value in; returns its number."""
        self._data += value
        self._ends.append(len(self._data))
        return len(self._ends) - 2

    def get(self, number: int) -> bytes:
        """The value of this number."""
        return bytes(memoryview(self._data)[self._ends[number] : self._ends[number + 1]])


class Shelf:
    """Gives the block that has room."""

    def __init__(self) -> None:
        self._open = Block()

    def block(self) -> Block:
        """A block with room for a value."""
        if self._open.full:
            self._open = Block()
        return self._open
