"""The closed rows that are on the disk only: which there are, oldest first.

It takes 24 to 40 bytes of memory for each row, in a few large arrays. Small objects that stay, such as ints in a dict, would keep
whole arenas of Python's allocator from being given back after a burst.
"""

from __future__ import annotations

from array import array

from agent.delivery.rows import Key

_MARK = (1 << 64) - 1
_LEAST = 64


class Archive:
    """Marks of keys → numbers of rows, as a hash table with open addressing. All methods are for the loop's thread."""

    def __init__(self) -> None:
        self._marks = array("Q")
        """In the order in which the rows were added."""
        self._numbers = array("Q")
        """At the same places; 0 where a row was removed."""
        self._slots = array("I", bytes(4 * _LEAST))
        """Place in those arrays + 1; 0 ends a search."""
        self._first = 0
        """Every row before this place was removed."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, key: Key) -> int:
        """The number of the row that may have this key; 0 where none has. Two keys can have one mark: the file tells them apart."""
        place = self._place(hash(key) & _MARK)
        return self._numbers[place] if place >= 0 else 0

    def add(self, key: Key, n: int) -> bool:
        """Take in a row; False, and nothing changes, where another key has the same mark."""
        mark = hash(key) & _MARK
        if (place := self._place(mark)) >= 0:
            return self._numbers[place] == n
        if 3 * len(self._marks) >= 2 * len(self._slots):
            self._rebuild()
        self._marks.append(mark)
        self._numbers.append(n)
        self._enter(len(self._marks), mark)
        self._count += 1
        return True

    def remove(self, key: Key) -> None:
        """The row is in memory again, or deleted."""
        if (place := self._place(hash(key) & _MARK)) >= 0:
            self._numbers[place] = 0
            self._count -= 1

    def take_oldest(self, count: int) -> list[int]:
        """Remove the rows that were added first; returns their numbers."""
        taken: list[int] = []
        for place in range(self._first, len(self._numbers)):
            if len(taken) == count:
                break
            if n := self._numbers[place]:
                taken.append(n)
                self._numbers[place] = 0
            self._first = place + 1
        self._count -= len(taken)
        return taken

    def _place(self, mark: int) -> int:
        """The row's place, or -1."""
        last = len(self._slots) - 1
        slot = mark & last
        while at := self._slots[slot]:
            if self._marks[at - 1] == mark and self._numbers[at - 1]:
                return at - 1
            slot = (slot + 1) & last
        return -1

    def _enter(self, at: int, mark: int) -> None:
        last = len(self._slots) - 1
        slot = mark & last
        while self._slots[slot]:
            slot = (slot + 1) & last
        self._slots[slot] = at

    def _rebuild(self) -> None:
        """Leave the removed rows out, with room for as many rows again."""
        left = [i for i, n in enumerate(self._numbers) if n]
        self._marks = array("Q", (self._marks[i] for i in left))
        self._numbers = array("Q", (self._numbers[i] for i in left))
        self._first = 0
        self._slots = array("I", bytes(4 * max(_LEAST, 1 << (2 * len(left)).bit_length())))
        for at, mark in enumerate(self._marks, 1):
            self._enter(at, mark)
